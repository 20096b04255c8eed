"""Batching without a timer: while one batch runs, the next gathers.

A thread takes what waits, up to the best batch, and never sleeps in the hope of more.
"""

import logging
import threading
import time

import numpy as np

from serving.engine.onnx import OnnxRuntime
from serving.errors import DeadlineExceeded, EngineFailed
from serving.lanes.memory import MemoryLane, Request

log = logging.getLogger(__name__)


class Engine:
    """Threads that carry requests from a lane through a runtime."""

    def __init__(self, runtime: OnnxRuntime, lane: MemoryLane, best_batch: int, threads: int) -> None:
        self._runtime = runtime
        self._lane = lane
        self._best_batch = best_batch
        self._threads = [threading.Thread(target=self._work, name=f"engine-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Answer what waits, then end."""
        self._lane.close(len(self._threads))
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while requests := self._lane.take(self._best_batch):
            self._answer([request for request in requests if not _expired(request)])

    def _answer(self, requests: list[Request]) -> None:
        if not requests:
            return
        try:
            pixels = requests[0].pixels if len(requests) == 1 else np.concatenate([each.pixels for each in requests])
            probabilities = self._runtime.run(pixels)
        except Exception:
            log.exception("the runtime failed on a batch of %d requests", len(requests))
            for request in requests:
                request.reply(EngineFailed("the model failed on this picture; the log says why"))
            return
        start = 0
        for request in requests:
            end = start + len(request.pixels)
            request.reply(probabilities[start:end])
            start = end


def _expired(request: Request) -> bool:
    """Whether nobody waits any more; work that no one will see would only delay the others."""
    if time.monotonic() <= request.deadline:
        return False
    request.reply(DeadlineExceeded("no answer within the deadline"))
    return True
