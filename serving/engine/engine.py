"""Threads that pull requests from a lane between processes, and run them."""

import logging
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from serving.engine.batching import Runner
from serving.errors import EngineFailed
from serving.lanes.answer import Answer

log = logging.getLogger(__name__)


class Lane(Protocol):
    """The engine's end of a lane."""

    def take(self, limit: int, delay: float) -> Sequence[Any]:
        """What waits, at least one request; nothing once the lane is closed."""

    def finish(self, answers: list[tuple[Any, Answer | Exception]]) -> None:
        """Send the answers; a request that has one keeps it."""

    def close(self) -> None:
        """Let those who take come to their end."""


class Engine:
    """`threads` that each run one batch at a time; one that is not full waits `delay` seconds for more."""

    def __init__(self, lane: Lane, runner: Runner, threads: int = 1, delay: float = 0.0) -> None:
        self._lane = lane
        self._runner = runner
        self._delay = delay
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Answer what was taken, then end."""
        self._lane.close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while taken := self._lane.take(self._runner.limit, self._delay):
            try:
                for answers in self._runner.run(taken):
                    self._lane.finish(answers)
            except Exception:  # those who come later must not suffer from it
                log.exception("a defect: %d requests could not be run", len(taken))
                failed = EngineFailed("the worker failed on this request; its log says why")
                self._lane.finish([(request, failed) for request in taken])
