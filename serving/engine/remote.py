"""A model in the workers, as a web process sees it: what the manifest says, and the lane to whoever can answer."""

from artifacts.bundle import Bundle
from artifacts.errors import BadBundle
from serving.lanes.redis.loop import LoopRedisLane
from serving.lanes.redis.mailbox import Mailbox, RedisLane


class RemoteModel:
    """One verified version; nothing of it is loaded here."""

    def __init__(self, bundle: Bundle, mailbox: Mailbox) -> None:
        self.bundle = bundle
        self.labels = bundle.labels
        self.shape = bundle.shape
        self.lane = RedisLane(mailbox, bundle)
        self._loop_lane = LoopRedisLane(mailbox, self.lane)
        self._mailbox = mailbox

    @property
    def loop_lane(self) -> LoopRedisLane | None:
        """While a worker is alive; else a thread finds out why none is."""
        return self._loop_lane if self._mailbox.workers else None

    @property
    def variant(self) -> str:
        """The one that the workers have loaded; empty while none of them has."""
        for worker in self._mailbox.said.values():
            for each in worker.get("models", ()):
                if each["sha256"] == self.bundle.sha256:
                    return str(each["variant"])
        return ""

    def held(self) -> bool:
        """Whether every worker that is alive has loaded it, and there is one.

        Raises:
            BadBundle: one of them cannot.
        """
        workers = self._mailbox.said
        name = f"{self.bundle.name}@{self.bundle.version}"
        for each in workers.values():
            if reason := each.get("refused", {}).get(name):
                raise BadBundle(reason)
        return bool(workers) and all(
            any(model["sha256"] == self.bundle.sha256 for model in each.get("models", ())) for each in workers.values()
        )

    def close(self) -> None:
        """Nothing waits here: the requests lie in Redis."""
