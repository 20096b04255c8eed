"""The lane inside one process: whoever waits for an answer works for it.

There are few places at the model. A thread that finds one free runs batch after batch, of its own request and all that
gathered meanwhile, until its own is answered; then the place goes to one of those who still wait. So a lone request
never changes threads, and many share batches without a thread between them. (Flat combining: Hendler, Incze, Shavit and
Tzafrir, SPAA 2010.)

A lane's other kind, `serving.lanes.redis`, travels to other processes; one contract test holds both.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.errors import DeadlineExceeded, NoModel, QueueFull, TooLarge
from serving.lanes.answer import Answer, joined

Answers = Iterable[list[tuple["Request", Answer | Exception]]]


class Request:
    """Pictures on their way, and the thread that waits for them."""

    __slots__ = ("answer", "deadline", "entered", "leads", "pixels", "request_id", "taken", "wake")

    def __init__(self, pixels: NDArray[np.uint8], deadline: float, request_id: str) -> None:
        self.pixels = pixels  # uint8 (N, height, width, channels)
        self.deadline = deadline  # time.monotonic() after which nobody waits any more
        self.request_id = request_id
        self.entered = time.monotonic()
        self.answer: Answer | Exception | None = None
        self.taken = False
        self.leads = False  # its thread was given a place at the model
        self.wake: SimpleQueue[None] = SimpleQueue()  # a place or an answer has come


class Crew(NamedTuple):
    """Who runs batches."""

    callers: int = 1  # of those who wait, at a time; none where a batch is long: they could not keep their deadlines
    helpers: int = 0  # threads of the lane: they run further pieces of a request of many, and all when no caller does


ONE = Crew()


class MemoryLane:
    """`depth` pictures may wait; a request of many is cut into pieces of the best batch.

    Args:
        run: gives each request of what was taken its answer, in one list or several.
        best: pictures in a batch.
        depth: pictures that may wait.
        crew: who runs batches.
        delay: seconds that a batch which is not full waits for more.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Request]], Answers],
        best: int,
        depth: int,
        crew: Crew = ONE,
        delay: float = 0.0,
    ) -> None:
        self._run = run
        self._best = best
        self._depth = depth
        self._callers = self._free = crew.callers
        self._delay = delay
        self._waiting: deque[Request] = deque()
        self._pictures = 0
        self._unanswered = 0
        self._closed = False
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._pieces = threading.Semaphore(0)
        self._helpers = [
            threading.Thread(target=self._help, name=f"helper-{n}", daemon=True) for n in range(crew.helpers)
        ]
        for helper in self._helpers:
            helper.start()

    @property
    def waiting(self) -> int:
        """Pictures that are in no batch yet."""
        return self._pictures

    def predict(self, pixels: NDArray[np.uint8], deadline: float, request_id: str = "") -> Answer:
        """The answer for pictures, uint8 (N, height, width, channels).

        Raises:
            TooLarge: more pictures than `depth`.
            QueueFull: with those that wait they are more than `depth`.
            NoModel: the lane was closed.
            DeadlineExceeded: `deadline` (time.monotonic()) came first.
            EngineFailed: the runtime raised.
        """
        starts = range(0, len(pixels), self._best)
        pieces = [Request(pixels[start : start + self._best], deadline, request_id) for start in starts]
        pieces[0].leads = self._enter(pieces, len(pixels))
        for _ in self._helpers[: len(pieces) - bool(self._callers)]:
            self._pieces.release()
        try:
            return joined([self._await(piece) for piece in pieces])
        finally:
            self._leave(pieces)

    def close(self) -> None:
        """Refuse what comes later; return when what came before is answered."""
        with self._lock:
            self._closed = True
            self._idle.wait_for(lambda: not self._unanswered)
        for _ in self._helpers:
            self._pieces.release()
        for helper in self._helpers:
            helper.join()

    def _enter(self, pieces: list[Request], pictures: int) -> bool:
        """Wait in line; whether a place is free."""
        if pictures > self._depth:
            raise TooLarge(f"{pictures} pictures never fit into a queue of {self._depth}; send fewer at a time")
        with self._lock:
            if self._closed:
                raise NoModel("this version of the model was just retired; send the request again")
            if self._pictures + pictures > self._depth:
                raise QueueFull(f"{self._pictures} pictures wait already, of at most {self._depth}; try again soon")
            self._pictures += pictures
            self._unanswered += 1
            self._waiting.extend(pieces)
            if not self._free:
                return False
            self._free -= 1
            return True

    def _leave(self, pieces: list[Request]) -> None:
        """What nobody waits for any more is not run; a place that came too late goes on."""
        with self._lock:
            for piece in pieces:
                if not piece.taken and piece.answer is None:
                    self._waiting.remove(piece)
                    self._pictures -= len(piece.pixels)
                    piece.taken = True
            if any(piece.leads for piece in pieces):
                self._pass_on()
            self._unanswered -= 1
            if not self._unanswered:
                self._idle.notify_all()

    def _await(self, piece: Request) -> Answer:
        while piece.answer is None:
            if piece.leads:
                self._lead(piece)
            else:
                try:
                    piece.wake.get(timeout=max(0.0, piece.deadline - time.monotonic()))
                except Empty:
                    break
        if isinstance(piece.answer, Exception):
            raise piece.answer
        if piece.answer is None:
            raise DeadlineExceeded("no answer within the deadline; send fewer pictures at a time")
        return piece.answer

    def _lead(self, piece: Request) -> None:
        """Run batches until a piece is answered, then give the place away."""
        try:
            while piece.answer is None and (batch := self._take()):
                self._work(batch)
        finally:
            with self._lock:
                piece.leads = False
                self._pass_on()

    def _help(self) -> None:
        while not self._closed:
            self._pieces.acquire()
            while batch := self._take():
                self._work(batch)

    def _work(self, batch: list[Request]) -> None:
        for answers in self._run(batch):
            for request, answer in answers:
                request.answer = answer
                request.wake.put(None)

    def _pass_on(self) -> None:
        """Give a place to the first one who waits; with the lock held."""
        if heir := next((request for request in self._waiting if not request.leads), None):
            heir.leads = True
            heir.wake.put(None)
        else:
            self._free += 1

    def _take(self) -> list[Request]:
        """What waits, in order, until the best batch is reached."""
        if self._delay and self._pictures < self._best:
            time.sleep(self._delay)
        batch: list[Request] = []
        pictures = 0
        with self._lock:
            while self._waiting and pictures < self._best:
                request = self._waiting.popleft()
                request.taken = True
                batch.append(request)
                pictures += len(request.pixels)
            self._pictures -= pictures
        return batch
