"""The lane inside one process: requests wait in memory for an engine's thread.

A lane has two ends. The API's end is `predict`: it blocks until there is an answer. The engine's end is `take`: it
blocks until there is work, and then returns what waits, until a limit is reached. A lane between machines has the same.
"""

import threading
import time
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from serving.errors import DeadlineExceeded, NoModel, QueueFull, TooLarge

Answer = NDArray[np.float32] | Exception


class Request:
    """Pictures on their way, with the address of the one who waits for them."""

    __slots__ = ("_replies", "_start", "deadline", "pixels")

    def __init__(self, pixels: NDArray[np.uint8], deadline: float, start: int, replies: "SimpleQueue[_Reply]") -> None:
        self.pixels = pixels  # uint8 (N, height, width, channels)
        self.deadline = deadline  # time.monotonic() after which nobody waits any more
        self._start = start
        self._replies = replies

    def reply(self, answer: Answer) -> None:
        """Send back probabilities, float32 (N, classes), or what went wrong."""
        self._replies.put((self._start, answer))


_Reply = tuple[int, Answer]


class MemoryLane:
    """`depth` pictures may wait; a request of many is cut into pieces of `piece`, so that several threads share it."""

    def __init__(self, depth: int, piece: int) -> None:
        self._depth = depth
        self._piece = piece
        self._waiting: SimpleQueue[Request | None] = SimpleQueue()
        self._pictures = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Pictures that no engine has taken yet."""
        return self._pictures

    def predict(self, pixels: NDArray[np.uint8], deadline: float) -> NDArray[np.float32]:
        """Probabilities, float32 (N, classes), of pictures, uint8 (N, height, width, channels).

        Raises:
            TooLarge: more pictures than `depth`.
            QueueFull: with those that wait they are more than `depth`.
            NoModel: the lane was closed.
            DeadlineExceeded: `deadline` (time.monotonic()) came first.
            EngineFailed: the runtime raised.
        """
        self._enter(len(pixels))
        replies: SimpleQueue[_Reply] = SimpleQueue()
        starts = range(0, len(pixels), self._piece)
        for start in starts:
            self._waiting.put(Request(pixels[start : start + self._piece], deadline, start, replies))
        answers = {}
        for _ in starts:
            try:
                start, answer = replies.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise DeadlineExceeded("no answer within the deadline; send fewer pictures at a time") from None
            if isinstance(answer, Exception):
                raise answer
            answers[start] = answer
        return answers[0] if len(answers) == 1 else np.concatenate([answers[start] for start in starts])

    def take(self, limit: int) -> list[Request]:
        """All requests that wait, until `limit` pictures are reached, at least one; an empty list once it is closed."""
        first = self._waiting.get()
        taken: list[Request] = []
        pictures = 0
        request = first
        while request is not None:
            taken.append(request)
            pictures += len(request.pixels)
            if pictures >= limit:
                break
            try:
                request = self._waiting.get_nowait()
            except Empty:
                break
        if request is None and taken:
            self._waiting.put(None)  # the end is for the next `take`
        with self._lock:
            self._pictures -= pictures
        return taken

    def close(self, takers: int) -> None:
        """Let each of `takers` threads come to its end after what waits now; refuse what comes later."""
        with self._lock:
            self._closed = True
        for _ in range(takers):
            self._waiting.put(None)

    def _enter(self, pictures: int) -> None:
        if pictures > self._depth:
            raise TooLarge(f"{pictures} pictures never fit into a queue of {self._depth}; send fewer at a time")
        with self._lock:
            if self._closed:
                raise NoModel("this version of the model was just retired; send the request again")
            if self._pictures + pictures > self._depth:
                raise QueueFull(f"{self._pictures} pictures wait already, of at most {self._depth}; try again soon")
            self._pictures += pictures
