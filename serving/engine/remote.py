"""A model in the workers, as a web process sees it: what the manifest says, and the lane to whoever can answer."""

import json

from artifacts.bundle import Bundle
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
        for text in self._mailbox.texts.values():
            for each in json.loads(text)["models"]:
                if each["sha256"] == self.bundle.sha256:
                    return str(each["variant"])
        return ""

    def close(self) -> None:
        """Nothing waits here: the requests lie in Redis."""
