"""The worker's end of the Redis lane: it takes what waits, keeps its lease on it, and settles it."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import redis

from serving.errors import Poisoned
from serving.lanes.answer import Answer
from serving.lanes.redis import link
from serving.telemetry.stats import EngineStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LOST = 100  # entries that one look for lost ones gives
BEAT_AT_THE_END = 0.05  # seconds between two looks whether the last answers are out
TRIES = 3  # workers that may die of a request before it is given up
BLOCK_MS = 500  # how long one read waits for work
PAUSE = 0.2  # seconds between two attempts to reach a server that does not answer
_GROUP_IS_THERE, _NO_GROUP = "BUSYGROUP", "NOGROUP"

Entry = tuple[bytes, dict[bytes, bytes]]

log = logging.getLogger(__name__)


class Request:
    """Pictures that a web process sent, with the way back."""

    __slots__ = ("deadline", "entered", "entry", "mailbox", "model", "piece", "pixels", "request_id", "sha256")

    def __init__(self, entry: bytes, fields: dict[bytes, bytes], now: float, server_now: float) -> None:
        self.entry = entry
        self.model = fields[link.MODEL].decode()
        self.sha256 = fields[link.SHA256].decode()
        shape = tuple(map(int, fields[link.SHAPE].split(b"x")))
        self.pixels: NDArray[np.uint8] = np.frombuffer(fields[link.PIXELS], np.uint8).reshape(-1, *shape)
        self.mailbox = link.REPLIES + fields[link.MAILBOX].decode()
        self.piece = int(fields[link.PIECE])
        self.request_id = fields[link.REQUEST_ID].decode()
        # The server's clock, which gave the entry its id, is the only one that all machines share.
        self.entered = now - max(0.0, server_now - int(entry.partition(b"-")[0]) / 1000)
        self.deadline = self.entered + int(fields[link.TTL_MS]) / 1000


class Puller:
    """A consumer of the stream. `take` and `finish` may be called from several threads."""

    def __init__(self, client: "redis.Redis", name: str, stats: EngineStats, status: Callable[[], str]) -> None:
        self._client = client
        self._name = name
        self._stats = stats
        self._status = status
        self._held: set[bytes] = set()
        self._clock = 0.0  # as link.clock has it
        self._unheard = False  # Redis does not answer, and that was said
        self._lost: deque[tuple[bytes, int, int]] = deque()  # entry, deliveries, the idle ms at which it may be had
        self._looked = -1.0
        self._claiming = threading.Lock()
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lane-keeper", daemon=True)
        self._keeper.start()

    def take(self, limit: int, delay: float = 0.0) -> list[Request]:
        """What waits, until `limit` pictures are reached, at least one; an empty list once the lane is closed.

        Args:
            limit: pictures; the request that reaches it is the last one taken.
            delay: seconds to wait, after the first request, for more to come.
        """
        while not self._closed.is_set():
            try:
                if taken := self._claim() or self._read(limit, delay):
                    self._unheard = False
                    return taken
            except redis.RedisError as error:
                self._recover(error)
        return []

    def finish(self, answers: list[tuple[Request, Answer | Exception]]) -> None:
        """Send each request its answer, or what went wrong; again and again while Redis does not answer."""
        keys = [request.mailbox for request, _ in answers]
        values = [each for request, answer in answers for each in (request.entry, link.pack(request.piece, answer))]
        command = ("EVAL", link.SETTLE, 1 + len(keys), link.STREAM, *keys, link.GROUP, link.REPLIES_SECONDS, *values)
        until = time.monotonic() + link.REPLIES_SECONDS
        while time.monotonic() < until:
            try:
                self._client.execute_command(*command)
                break
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(PAUSE)
            except redis.ResponseError as error:
                log.error("Redis refused an answer: %s", error)  # noqa: TRY400 - its sentence is enough
                time.sleep(PAUSE)
        self._held.difference_update(request.entry for request, _ in answers)

    def close(self) -> None:
        """Take nothing more; what was taken can still be finished."""
        self._closed.set()

    def leave(self) -> None:
        """Sign off, after everything that was taken is finished."""
        self._keeper.join()
        try:
            if not self._client.xpending_range(link.STREAM, link.GROUP, "-", "+", 1, self._name):
                self._client.xgroup_delconsumer(link.STREAM, link.GROUP, self._name)
            link.sign_off(self._client, self._name)
        except redis.RedisError as error:
            log.warning("could not sign off (%s); the others will see that this worker is gone", error)

    def _read(self, limit: int, delay: float) -> list[Request]:
        """What waits; only when nothing does is the first entry waited for."""
        entries = self._rest(limit, 0, 0)
        if not entries:
            read = self._client.execute_command(
                "XREADGROUP", "GROUP", link.GROUP, self._name, "COUNT", 1, "BLOCK", BLOCK_MS,
                "STREAMS", link.STREAM, ">",
            )  # fmt: skip
            entries = [(entry, fields) for _, found in read or () for entry, fields in found]
            if entries:
                entries += self._more(entries, limit, _pictures(entries))
        if entries and delay and _pictures(entries) < limit:
            self._held.update(entry for entry, _ in entries)
            time.sleep(delay)
            entries += self._more(entries, limit, 0)
        return self._requests(entries)

    def _more(self, entries: list[Entry], limit: int, uncounted: int) -> list[Entry]:
        """What waits besides; nothing when Redis fails now, for what is at hand can be run all the same."""
        try:
            return self._rest(limit, _pictures(entries), uncounted)
        except redis.RedisError:
            return []

    def _rest(self, limit: int, taken: int, uncounted: int) -> list[Entry]:
        found = self._client.execute_command(
            "EVAL", link.TAKE, 2, link.STREAM, link.WAITING, link.GROUP, self._name, limit, taken, uncounted
        )
        return [(entry, dict(zip(flat[::2], flat[1::2], strict=True))) for entry, flat in found]

    def _requests(self, entries: list[Entry]) -> list[Request]:
        self._held.update(entry for entry, _ in entries)
        now = time.monotonic()
        requests = []
        for entry, fields in entries:
            try:
                requests.append(Request(entry, fields, now, now + self._clock))
            except (KeyError, ValueError):
                log.exception("%r is no request of this lane; it is dropped", entry)
                self._drop(entry)
        return requests

    def _drop(self, entry: bytes) -> None:
        self._held.discard(entry)
        with suppress(redis.RedisError):  # then it is claimed, and dropped again
            self._client.xack(link.STREAM, link.GROUP, entry)
            self._client.xdel(link.STREAM, entry)

    def _claim(self) -> list[Request]:
        """One request of a worker that is gone, or that died under this name: alone, for it may be what killed it."""
        with self._claiming:
            self._look_for_lost()
            while self._lost:
                entry, tries, idle = self._lost.popleft()
                if entry in self._held:
                    continue
                got: Any = self._client.xclaim(link.STREAM, link.GROUP, self._name, idle, [entry])
                requests = self._requests([(each, fields) for each, fields in got if fields])
                if not requests:  # it was answered meanwhile
                    self._client.xack(link.STREAM, link.GROUP, entry)
                elif tries >= TRIES:
                    self._give_up(requests[0])
                else:
                    self._stats.claimed += 1
                    log.warning("claimed request %s, which its worker let go", requests[0].request_id)
                    return requests
            return []

    def _look_for_lost(self) -> None:
        """List what nobody has renewed for a lease; at the start, also what this name left behind."""
        now = time.monotonic()
        if self._lost or now - self._looked < link.LEASE / 2:
            return
        mine = self._looked < 0
        if mine:
            self._clock = link.clock(self._client)  # before anything is taken, so that it is known what has expired
        idle = 0 if mine else int(1000 * link.LEASE)
        found: Any = self._client.xpending_range(
            link.STREAM, link.GROUP, "-", "+", MOST_LOST, self._name if mine else None, idle
        )
        self._lost.extend((each["message_id"], each["times_delivered"], idle) for each in found)
        self._looked = now

    def _give_up(self, request: Request) -> None:
        log.error("request %s is given up: %d workers died of it", request.request_id, TRIES)
        self._stats.poisoned += 1
        self.finish([(request, Poisoned(f"{TRIES} workers died of this request; it is not tried again"))])

    def _recover(self, error: redis.RedisError) -> None:
        """Make the group where the server has lost it; wait a moment for anything else to pass."""
        if _NO_GROUP in str(error):
            try:
                self._client.xgroup_create(link.STREAM, link.GROUP, id="0", mkstream=True)
            except redis.RedisError as refused:
                error = refused
            else:
                return
        if _GROUP_IS_THERE in str(error):  # another worker was quicker
            return
        if not self._unheard:
            log.warning("Redis gives no work (%s); trying until it does", error)
        self._unheard = True
        self._closed.wait(PAUSE)

    def _keep(self) -> None:
        """Give signs of life and renew what is held, until closed and nothing is held any more."""
        while not (self._closed.is_set() and not self._held):
            try:
                link.sign(self._client, self._name, self._status())
                self._clock = link.clock(self._client)
                if held := list[Any](self._held):
                    self._client.xclaim(link.STREAM, link.GROUP, self._name, 0, held, justid=True)
            except redis.RedisError as error:
                log.debug("no sign of life could be given: %s", error)
            except Exception:  # without signs of life all that this worker does would be done again by others
                log.exception("a defect: a sign of life could not be given")
            if self._closed.wait(link.LEASE / 4):
                time.sleep(BEAT_AT_THE_END)


def _pictures(entries: list[Entry]) -> int:
    return sum(int(fields[link.COUNT]) for _, fields in entries)
