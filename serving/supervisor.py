"""A few processes that do the same: started anew when they die, told to stop when we are."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from serving.children import die_with_parent

SHORT_LIFE = 1.0  # seconds: a process that dies sooner is not started again before as long has passed
_WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}

log = logging.getLogger(__name__)


def supervise(work: Callable[[int], None], count: int, patience: float) -> None:
    """Keep `count` processes at work until SIGTERM or SIGINT; then let them end, and kill those that do not.

    Signals are blocked and waited for, so that none can fall between two steps.

    Args:
        work: what each process does, after a fork, by its number from 0 on.
        count: of processes.
        patience: seconds that they may take to end.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    processes = [_started(work, place) for place in range(count)]
    while (number := signal.sigwait(_WATCHED)) == signal.SIGCHLD:
        for place, (process, began) in enumerate(processes):
            if process.exitcode is None:
                continue
            log.error("web process %d ended (%s); another one is started", process.pid, process.exitcode)
            rest = SHORT_LIFE - (time.monotonic() - began)
            stop = signal.sigtimedwait(_WATCHED - {signal.SIGCHLD}, max(0.0, rest))
            if stop:
                _end(processes, stop.si_signo, patience)
                return
            processes[place] = _started(work, place)
    _end(processes, number, patience)


def _started(work: Callable[[int], None], place: int) -> tuple[BaseProcess, float]:
    parent = os.getpid()

    def begin() -> None:
        die_with_parent(parent)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        work(place)

    process = multiprocessing.get_context("fork").Process(target=begin)
    process.start()
    return process, time.monotonic()


def _end(processes: list[tuple[BaseProcess, float]], number: int, patience: float) -> None:
    """Pass the signal on. Ctrl-C has reached the processes already; a second one makes no difference to them."""
    for process, _ in processes:
        if process.exitcode is None and process.pid:
            os.kill(process.pid, number)
    until = time.monotonic() + patience
    for process, _ in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.exitcode is None:
            log.error("web process %d did not end in time and is killed", process.pid)
            process.kill()
            process.join()
