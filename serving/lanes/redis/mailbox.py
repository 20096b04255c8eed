"""The web process's end of the Redis lane: pictures out, replies in.

Two threads share the work of all requests: one sends what has gathered in one round trip, one empties the reply list.
A third looks who is alive.
"""

import itertools
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol

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
SEEK_SECONDS = 0.1  # the same while nobody is

log = logging.getLogger(__name__)


class Replies(Protocol):
    """Where the reply of a piece is put."""

    def put(self, reply: tuple[int, Answer | Exception]) -> None:
        """Take the number of a piece and its answer; called from any thread, never blocks."""


class Piece(NamedTuple):
    """A part of a request on its way."""

    fields: list[Any]  # of its entry, but for the time that is left
    pictures: int
    deadline: float  # time.monotonic()
    replies: Replies


class Mailbox:
    """One a process. Every request that it sent is sent anew when the server was lost, and answered once."""

    def __init__(self, client: "redis.Redis", depth: int) -> None:
        self.depth = depth
        self.workers = 0
        self.waiting = 0
        self.said: dict[str, dict[str, Any]] = {}  # what the workers say of themselves, by name
        self._client = client
        self._id = os.urandom(8).hex()
        self._numbers = itertools.count()
        self._on_the_way: dict[int, Piece] = {}
        self._unsent: deque[tuple[int, bool]] = deque()  # the number of a piece, and whether it was sent before
        self._work = threading.Event()
        self._closed = threading.Event()
        self._looked = threading.Event()  # for the first time
        self._answers = False  # Redis did, at the last look
        for loop in (self._send, self._receive, self._watch):
            threading.Thread(target=loop, name=f"mailbox{loop.__name__}", daemon=True).start()

    def post(self, piece: Piece) -> int:
        """Put a piece on its way; its number."""
        number = next(self._numbers)
        piece.fields.extend((link.MAILBOX, self._id, link.PIECE, number))
        self._on_the_way[number] = piece
        self._unsent.append((number, False))
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
        self._looked.wait(link.TIMEOUT)
        if not self._answers:
            raise NoModel("Redis does not answer; try again soon")
        if not self.workers:
            raise NoModel("no worker is alive; start one: tintype worker")

    def _deliver(self, number: int, answer: Answer | Exception) -> None:
        piece = self._on_the_way.pop(number, None)
        if piece:  # else it was answered before, or nobody waits any more
            piece.replies.put((number, answer))

    def _send(self) -> None:
        heard = True
        while not self._closed.is_set():
            self._work.wait()
            self._work.clear()
            waiting = dict(self._unsent.popleft() for _ in range(len(self._unsent)))
            try:
                self._enter(waiting)
                heard = True
            except redis.RedisError as error:
                if heard:
                    log.warning("Redis takes no requests (%s); what is on its way is sent until it does", error)
                heard = False
                time.sleep(PAUSE)
                self._send_again()

    def _send_again(self) -> None:
        """Send all that is on its way, also what was sent before: the server may have lost it, or the replies."""
        self._unsent.extend((number, True) for number in sorted(self._on_the_way))
        self._work.set()

    def _enter(self, waiting: dict[int, bool]) -> None:
        sent = [(number, piece) for number in waiting if (piece := self._on_the_way.get(number))]
        if not sent:
            return
        now = time.monotonic()
        pipe = self._client.pipeline(transaction=False)
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
            elif result >= 0 and not waiting[number]:  # one that was sent before may be what waits
                sentence = f"{result} pictures wait already, of at most {self.depth}; try again soon"
                self._deliver(number, QueueFull(sentence))

    def _receive(self) -> None:
        while not self._closed.is_set():
            try:
                for data in self._fetch():
                    self._deliver(*link.unpack(data))
            except redis.RedisError:  # the sender says it in the log
                time.sleep(PAUSE)
                self._send_again()
            except Exception:  # whoever waits runs into the deadline; those who come later must not
                log.exception("a defect: a reply cannot be read")

    def _fetch(self) -> Sequence[bytes]:
        """What lies in the reply list; if nothing does, the next one that comes."""
        key = link.REPLIES + self._id
        replies: list[bytes] | None = self._client.execute_command("LPOP", key, AT_ONCE)
        if replies:
            return replies
        popped: list[bytes] | None = self._client.execute_command("BLPOP", key, link.TIMEOUT / 2)
        return popped[1:] if popped else ()

    def _watch(self) -> None:
        while not self._closed.is_set():
            self._look()
            self._looked.set()
            self._closed.wait(LOOK_SECONDS if self.workers else SEEK_SECONDS)

    def _look(self) -> None:
        """See who is alive and how much waits."""
        try:
            self.said = {name: _parsed(text) for name, text in link.alive(self._client).items()}
            self.waiting = int(self._client.get(link.WAITING) or 0)
        except redis.RedisError:
            self.said = {}
            self._answers = False
        else:
            self._answers = True
        self.workers = len(self.said)


def _parsed(text: str) -> dict[str, Any]:
    """What a worker says; nothing when it is of another version, and speaks otherwise."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


class RedisLane:
    """The way to the workers for the requests of one version."""

    def __init__(self, mailbox: Mailbox, bundle: Bundle) -> None:
        self._mailbox = mailbox
        self._size = int(bundle.manifest["variants"]["fp32"]["best_batch"])
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
            self._mailbox.post(self.piece(pixels[start : start + self._size], deadline, request_id, replies))
            for start in range(0, len(pixels), self._size)
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

    def piece(self, pixels: NDArray[np.uint8], deadline: float, request_id: str, replies: Replies) -> Piece:
        """Pictures, uint8 (N, height, width, channels), as they travel."""
        fields = [*self._fields, link.COUNT, len(pixels), link.PIXELS, pixels.tobytes(), link.REQUEST_ID, request_id]
        return Piece(fields, len(pixels), deadline, replies)
