"""One chunk in a process that holds the model: decoders work ahead, several batches are inferred at a time."""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from serving.jobs.chunk import Bunch, Classifier, Decoded, Row, bunches, infer, repeated
from serving.jobs.decoders import NICE, Decoders
from serving.jobs.folders import Folder
from serving.jobs.walk import Input

AHEAD = 2  # bunches that are decoded in advance, for each decoder and each thread


class Hands(NamedTuple):
    """What a process has to work with."""

    decoders: Decoders
    threads: int  # batches that are inferred at a time
    give_way: Callable[[], object]  # called before each batch: returns when it may be run


def classify_ahead(
    folder: Folder, inputs: list[Input], model: Classifier, hands: Hands, progress: Callable[[int], None]
) -> list[Row]:
    """The rows of `classify_chunk`, sooner. `progress` is told how many files are done, and may raise to stop."""
    reading = model.reading(folder)
    rows: list[Row] = []
    waiting: deque[tuple[Bunch, Future[list[Decoded]]]] = deque()
    running: deque[Future[list[Row]]] = deque()

    def run(bunch: list[Decoded]) -> list[Row]:
        found: list[Row] = []
        for decoded in bunch:
            hands.give_way()
            found += infer(decoded, model)
        return repeated(found)

    def advance() -> None:
        """Pass the oldest bunch on to the model, and collect from it what is too much at a time."""
        if waiting:
            bunch, begun = waiting.popleft()
            running.append(pool.submit(run, hands.decoders.finish(begun, bunch, reading)))
        if len(running) > hands.threads or not waiting:
            rows.extend(running.popleft().result())
            progress(len(rows))

    with ThreadPoolExecutor(hands.threads, "folder", _step_back) as pool:
        try:
            for bunch in bunches(inputs, model):
                waiting.append((bunch, hands.decoders.begin(bunch, reading)))
                if len(waiting) > AHEAD * (hands.decoders.processes + hands.threads):
                    advance()
            while waiting or running:
                advance()
        finally:
            for _, begun in waiting:
                begun.cancel()
    return rows


def _step_back() -> None:
    """Let online requests go first where cores are short; on Linux each thread has a priority of its own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
