"""Processes that decode ahead of the model: Python's lock would let threads use two thirds of two cores.

A picture that kills its decoder, or keeps it busy without end, costs a process and not the worker: what was on its way
is then done again picture by picture, and one that does it TRIES times is set aside as a reject.
"""

import logging
import multiprocessing
import os
import signal
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from serving.children import die_with_parent
from serving.jobs.chunk import Bunch, Decoded, Reading, Seen, decode, empty_row, is_double
from serving.jobs.walk import Input

NICE = 10  # folder work gives way to people who wait
TRIES = 3
ALONE_SECONDS = 20.0  # for one picture by itself
BUNCH_SECONDS = 60.0  # for some batches; what takes longer is done picture by picture
POISONED = "poisoned: this picture {} its decoder {} times and was set aside"

log = logging.getLogger(__name__)


class Decoders:
    """Processes, started when they are first needed. To be used from one thread."""

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def begin(self, bunch: Bunch, reading: Reading) -> "Future[list[Decoded]]":
        """Have some batches decoded; `finish` gives what came of them."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a fork would take over locks and sessions of the engine
            self._pool = ProcessPoolExecutor(self.processes, context, _prepare, (os.getpid(),))
        try:
            return self._pool.submit(_decode, bunch, reading)
        except BrokenProcessPool as error:
            broken: Future[list[Decoded]] = Future()
            broken.set_exception(error)
            return broken

    def finish(self, begun: "Future[list[Decoded]]", bunch: Bunch, reading: Reading) -> list[Decoded]:
        """What came of them.

        Raises:
            NotNow: as `decode`.
        """
        try:
            return begun.result(BUNCH_SECONDS)
        except (BrokenProcessPool, CancelledError, TimeoutError) as error:
            log.warning("a decoder died or hangs (%s); what it had is decoded file by file", type(error).__name__)
            self.close()
        seen: Seen = {}
        return [self._one_by_one(batch, reading, seen) for batch in bunch]

    def close(self) -> None:
        """End the processes, whatever they do."""
        if self._pool:
            for process in list((self._pool._processes or {}).values()):  # noqa: SLF001 - kill_workers() comes with Python 3.14
                process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _one_by_one(self, batch: list[Input], reading: Reading, seen: Seen) -> Decoded:
        alone = [_without_double(self._alone(listed, reading), seen) for listed in batch]
        pixels = [each.pixels for each in alone if each.pixels is not None]
        return Decoded([each.rows[0] for each in alone], np.concatenate(pixels) if pixels else None)

    def _alone(self, listed: Input, reading: Reading) -> Decoded:
        does = ""
        for _ in range(TRIES):
            try:
                return self.begin([[listed]], reading).result(ALONE_SECONDS)[0]
            except BrokenProcessPool:
                does = "killed"
            except TimeoutError:
                does = "hung"
            self.close()
        log.error("%s is set aside: it %s its decoder %d times", listed.path, does, TRIES)
        return Decoded([{**empty_row(listed, reading), "error": POISONED.format(does, TRIES)}], None)


def _decode(bunch: Bunch, reading: Reading) -> list[Decoded]:
    seen: Seen = {}
    return [decode(batch, reading, seen) for batch in bunch]


def _without_double(alone: Decoded, seen: Seen) -> Decoded:
    """One picture that was decoded by itself, as it would have been in its bunch."""
    (row,) = alone.rows
    if row["sha256"] is None or not is_double(row, seen):
        return alone
    return Decoded([{**row, "width": None, "height": None, "thumbnail": None}], None)


def _prepare(parent: int) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the worker ends the work
    os.nice(NICE)
