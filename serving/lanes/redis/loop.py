"""The Redis lane as an event loop uses it: no thread waits for an answer."""

import asyncio
import time
from collections import deque
from contextlib import suppress

from serving.errors import DeadlineExceeded
from serving.lanes.answer import Answer
from serving.lanes.loop import Decode
from serving.lanes.redis.mailbox import Mailbox, RedisLane

Reply = tuple[int, Answer | Exception]


class LoopRedisLane:
    """The way to the workers for one version, one picture at a time."""

    def __init__(self, mailbox: Mailbox, lane: RedisLane) -> None:
        self._mailbox = mailbox
        self._lane = lane
        self._inbox: _Inbox | None = None

    @property
    def waiting(self) -> int:
        """Of all models together they are counted elsewhere."""
        return 0

    def predict(self, decode: Decode, deadline: float, request_id: str) -> "asyncio.Future[Answer]":
        """The answer for one picture, which is decoded now. To be called on the loop.

        Raises:
            BadPicture
        The future besides: QueueFull, NoModel, DeadlineExceeded, EngineFailed.
        """
        pixels = decode()
        loop = asyncio.get_running_loop()
        inbox = self._inbox = self._inbox or _Inbox(loop)
        number = self._mailbox.post(self._lane.piece(pixels, deadline, request_id, inbox))
        future: asyncio.Future[Answer] = loop.create_future()
        inbox.expect(number, future)
        late = loop.call_later(max(0.0, deadline - time.monotonic()), self._expire, number, inbox)
        future.add_done_callback(lambda _: late.cancel())
        return future

    def _expire(self, number: int, inbox: "_Inbox") -> None:
        self._mailbox.forget([number])
        inbox.settle((number, DeadlineExceeded("no answer within the deadline")))


class _Inbox:
    """Replies that other threads put in, and that the loop takes out: many at a time, woken once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._came: deque[Reply] = deque()
        self._expected: dict[int, asyncio.Future[Answer]] = {}
        self._woken = False

    def expect(self, number: int, future: "asyncio.Future[Answer]") -> None:
        """A future that the reply of this number settles."""
        self._expected[number] = future

    def put(self, reply: Reply) -> None:
        """From any thread."""
        self._came.append(reply)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._loop.call_soon_threadsafe(self._take)

    def settle(self, reply: Reply) -> None:
        """Give a reply to whoever waits for it still."""
        number, answer = reply
        future = self._expected.pop(number, None)
        if future is None or future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _take(self) -> None:
        self._woken = False  # before the first is taken out: what comes in from now on wakes the loop again
        while self._came:
            self.settle(self._came.popleft())
