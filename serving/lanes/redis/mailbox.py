"""The web process's end of the Redis lane: pictures out, replies in.

Two threads share the work of all requests: one sends what has gathered in one round trip, one empties the reply list.
A third looks who is alive.
"""

import itertools
import logging
import os
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import redis
from numpy.typing import NDArray

from artifacts.bundle import Bundle
from serving.errors import DeadlineExceeded, NoModel, QueueFull, TooLarge
from serving.lanes.answer import Answer, joined
from serving.lanes.redis import link

AT_ONCE = 64  # replies that one round trip fetches
PAUSE = 0.2  # seconds between two attempts to reach a server that does not answer
LOOK_SECONDS = 0.5  # between two looks at who is alive

log = logging.getLogger(__name__)


class _Piece(NamedTuple):
    """A part of a request on its way."""

    fields: list[Any]  # of its entry, but for the time that is left
    pictures: int
    deadline: float  # time.monotonic()
    replies: "SimpleQueue[tuple[int, Answer | Exception]]"


class Mailbox:
    """One a process. Every request that it sent is sent anew when the server was lost, and answered once."""

    def __init__(self, client: "redis.Redis", depth: int) -> None:
        self.depth = depth
        self.workers = 0
        self.waiting = 0
        self.texts: dict[str, str] = {}
        self._client = client
        self._id = os.urandom(8).hex()
        self._numbers = itertools.count()
        self._on_the_way: dict[int, _Piece] = {}
        self._unsent: deque[int] = deque()
        self._work = threading.Event()
        self._closed = threading.Event()
        for loop in (self._send, self._receive, self._watch):
            threading.Thread(target=loop, name=f"mailbox{loop.__name__}", daemon=True).start()

    def post(self, piece: _Piece) -> int:
        """Put a piece on its way; its number."""
        number = next(self._numbers)
        piece.fields.extend((link.MAILBOX, self._id, link.PIECE, number))
        self._on_the_way[number] = piece
        self._unsent.append(number)
        self._work.set()
        return number

    def forget(self, numbers: list[int]) -> None:
        """Nobody waits for these any more."""
        for number in numbers:
            self._on_the_way.pop(number, None)

    def close(self) -> None:
        """Let the threads come to their end."""
        self._closed.set()
        self._work.set()

    def check(self) -> None:
        """Refuse a request that nobody could answer.

        Raises:
            NoModel: no worker is alive, or Redis does not answer.
        """
        if self.workers:
            return
        if not self._look():
            raise NoModel("Redis does not answer; try again soon")
        if not self.workers:
            raise NoModel("no worker is alive; start one: tintype worker")

    def _deliver(self, number: int, answer: Answer | Exception) -> None:
        piece = self._on_the_way.pop(number, None)
        if piece:  # else it was answered before, or nobody waits any more
            piece.replies.put((number, answer))

    def _send(self) -> None:
        again: set[int] = set()
        while not self._closed.is_set():
            self._work.wait()
            self._work.clear()
            numbers = [self._unsent.popleft() for _ in range(len(self._unsent))]
            try:
                self._enter([number for number in numbers if number in self._on_the_way], again)
                again.clear()
            except (redis.ConnectionError, redis.TimeoutError) as error:
                log.warning("Redis does not answer (%s); what is on its way is sent again", error)
                again = set(self._on_the_way)  # also what was sent before: the server may have lost it
                self._unsent.clear()
                self._unsent.extend(sorted(again))
                time.sleep(PAUSE)
                self._work.set()

    def _enter(self, numbers: list[int], again: set[int]) -> None:
        if not numbers:
            return
        now = time.monotonic()
        pipe = self._client.pipeline(transaction=False)
        sent = [(number, piece) for number in numbers if (piece := self._on_the_way.get(number))]
        for _, piece in sent:
            left = max(0, round(1000 * (piece.deadline - now)))
            pipe.execute_command(
                "EVAL", link.ENTER, 2, link.STREAM, link.WAITING, self.depth, piece.pictures,
                *piece.fields, link.TTL_MS, left,
            )  # fmt: skip
        for (number, _), result in zip(sent, pipe.execute(raise_on_error=False), strict=True):
            if isinstance(result, redis.ConnectionError):  # the server is loading its data
                raise result
            if isinstance(result, Exception):
                log.error("Redis refused a request: %s", result)
                self._deliver(number, NoModel("Redis cannot take requests; its log says why"))
            elif result >= 0 and number not in again:
                sentence = f"{result} pictures wait already, of at most {self.depth}; try again soon"
                self._deliver(number, QueueFull(sentence))

    def _receive(self) -> None:
        key = link.REPLIES + self._id
        while not self._closed.is_set():
            try:
                replies = self._client.execute_command("LPOP", key, AT_ONCE)
                if not replies:
                    popped = self._client.execute_command("BLPOP", key, link.TIMEOUT / 2)
                    replies = popped[1:] if popped else ()
            except (redis.ConnectionError, redis.TimeoutError):
                self._unsent.extend(sorted(self._on_the_way))  # replies may be lost; the sender says it in the log
                self._work.set()
                time.sleep(PAUSE)
                continue
            for data in replies:
                self._deliver(*link.unpack(data))

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> bool:
        """See who is alive and how much waits; whether Redis answered."""
        try:
            self.texts = link.alive(self._client)
            self.waiting = int(self._client.get(link.WAITING) or 0)
        except redis.RedisError:
            self.texts = {}
        else:
            return True
        finally:
            self.workers = len(self.texts)
        return False


class RedisLane:
    """The way to the workers for the requests of one version."""

    def __init__(self, mailbox: Mailbox, bundle: Bundle) -> None:
        self._mailbox = mailbox
        self._piece = int(bundle.manifest["variants"]["fp32"]["best_batch"])
        shape = "x".join(map(str, bundle.shape))
        self._fields = (link.MODEL, f"{bundle.name}@{bundle.version}", link.SHA256, bundle.sha256, link.SHAPE, shape)

    @property
    def waiting(self) -> int:
        """Pictures that no worker has taken yet, of all models, a moment ago."""
        return self._mailbox.waiting

    def predict(self, pixels: NDArray[np.uint8], deadline: float, request_id: str = "") -> Answer:
        """The answer for pictures, uint8 (N, height, width, channels).

        Raises:
            TooLarge: more pictures than the depth of the queue.
            QueueFull: with those that wait they are more than that.
            NoModel: no worker is alive, or it has not this model.
            DeadlineExceeded: `deadline` (time.monotonic()) came first.
            EngineFailed: the runtime raised.
        """
        if len(pixels) > self._mailbox.depth:
            raise TooLarge(
                f"{len(pixels)} pictures never fit into a queue of {self._mailbox.depth}; send fewer at a time"
            )
        self._mailbox.check()
        replies: SimpleQueue[tuple[int, Answer | Exception]] = SimpleQueue()
        numbers = [
            self._mailbox.post(self._cut(pixels[start : start + self._piece], deadline, request_id, replies))
            for start in range(0, len(pixels), self._piece)
        ]
        answers = {}
        try:
            for _ in numbers:
                number, answer = replies.get(timeout=max(0.0, deadline - time.monotonic()))
                if isinstance(answer, Exception):
                    raise answer
                answers[number] = answer
        except Empty:
            raise DeadlineExceeded("no answer within the deadline; send fewer pictures at a time") from None
        finally:
            self._mailbox.forget(numbers)
        return joined([answers[number] for number in numbers])

    def _cut(self, pixels: NDArray[np.uint8], deadline: float, request_id: str, replies: "SimpleQueue[Any]") -> _Piece:
        fields = [*self._fields, link.COUNT, len(pixels), link.PIXELS, pixels.tobytes(), link.REQUEST_ID, request_id]
        return _Piece(fields, len(pixels), deadline, replies)
