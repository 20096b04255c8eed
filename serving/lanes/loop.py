"""The lane of an event loop: requests that came in while a batch ran are the next batch.

The batch runs on the loop's own thread, so no request ever changes threads. That is for models whose batches are
short; for others the loop would stand still.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.board import Board
from serving.errors import DeadlineExceeded, NoModel, QueueFull
from serving.lanes.answer import Answer

Decode = Callable[[], NDArray[np.uint8]]


class Request:
    """One picture on its way: still encoded, until its batch is run."""

    __slots__ = ("deadline", "decode", "entered", "future", "pixels", "request_id")

    def __init__(self, decode: Decode, deadline: float, request_id: str, future: "asyncio.Future[Answer]") -> None:
        self.decode = decode  # gives uint8 (1, height, width, channels), or raises BadPicture
        self.pixels: NDArray[np.uint8]
        self.deadline = deadline  # time.monotonic() after which nobody waits any more
        self.request_id = request_id
        self.entered = time.monotonic()
        self.future = future


class Run(Protocol):
    """Gives each request of a batch its answer, in one list or several."""

    def __call__(self, taken: Sequence[Request], *, alone: bool) -> Iterable[list[tuple[Request, Answer | Exception]]]:
        """`alone`: nobody else waits."""


class LoopLane:
    """`depth` pictures may wait; `best` make a batch, and one that is not full waits `delay` seconds for more.

    `board` tells whether other processes are at work.
    """

    def __init__(self, run: Run, best: int, depth: int, board: Board, delay: float = 0.0) -> None:
        self._run = run
        self._best = best
        self._depth = depth
        self._board = board
        self._delay = delay
        self._waiting: deque[Request] = deque()
        self._scheduled = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """Pictures that are in no batch yet."""
        return len(self._waiting)

    def predict(self, decode: Decode, deadline: float, request_id: str) -> "asyncio.Future[Answer]":
        """The answer for one picture. To be called on the loop.

        Raises:
            QueueFull: `depth` others wait.
            NoModel: the lane was closed.
        The future besides: BadPicture, DeadlineExceeded, EngineFailed.
        """
        if self._closed:
            raise NoModel("this version of the model was just retired; send the request again")
        if len(self._waiting) >= self._depth:
            raise QueueFull(f"{len(self._waiting)} pictures wait already, of at most {self._depth}; try again soon")
        loop = asyncio.get_running_loop()
        request = Request(decode, deadline, request_id, loop.create_future())
        self._waiting.append(request)
        if not self._scheduled:
            self._schedule(loop)
        return request.future

    def close(self) -> None:
        """Refuse what comes later; what waits is still answered."""
        self._closed = True

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        if self._delay and len(self._waiting) < self._best:
            loop.call_later(self._delay, self._work, loop)
        else:
            loop.call_soon(loop.call_soon, self._work, loop)  # whoever is ready to be read comes in before

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._best, len(self._waiting)))]
        self._scheduled = False
        ready = [request for request in batch if _decoded(request)]
        self._board.note(busy=True)
        for answers in self._run(ready, alone=not self._waiting and self._board.others_are_idle()):
            for request, answer in answers:
                _settle(request, answer)
        self._board.note(busy=bool(self._waiting))
        if self._waiting:
            self._schedule(loop)


def _decoded(request: Request) -> bool:
    if time.monotonic() > request.deadline:  # the runner would say so, too, but only after the decoding
        _settle(request, DeadlineExceeded("no answer within the deadline"))
        return False
    try:
        request.pixels = request.decode()
    except Exception as error:  # noqa: BLE001 - of whatever kind, it is for the one who asked
        _settle(request, error)
        return False
    return True


def _settle(request: Request, answer: Answer | Exception) -> None:
    if isinstance(answer, Exception):
        request.future.set_exception(answer)
    else:
        request.future.set_result(answer)
