"""Processes that do chunks, one a core: Python's lock would let threads use two thirds of two cores.

They are forked before any model is opened (ONNX Runtime's sessions do not survive a fork) and are handed the numbers of
chunks, never pixels: a chunk's inputs are read from the job's directory, and its part is written there.
"""

import multiprocessing
import os
import signal
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from artifacts import bundle as bundles
from artifacts.errors import TintypeError
from artifacts.settings import Settings
from serving.children import die_with_parent
from serving.engine.variants import open_best
from serving.errors import NotNow
from serving.jobs.chunk import Classifier, classify_chunk
from serving.jobs.folders import Folder, see
from serving.jobs.inputs import Listing, read_chunk
from serving.jobs.parts import is_whole, write_part
from serving.jobs.thumbnails import side

WINDOW = 2  # chunks handed out for each process: one at work, one ready

_model: Classifier | TintypeError  # of a process of the pool, opened when it starts, or why it could not be


class Done(NamedTuple):
    """A chunk that has its part."""

    number: int
    files: int


def run_chunks(  # noqa: PLR0913, PLR0917 - what a chunk needs, and where it lies
    job: Path, folder: Folder, version: Path, variant: str, listing: Listing, settings: Settings
) -> Generator[Done]:
    """Have the part of every chunk on the disk; yields each as it is done, in whatever order that is.

    Raises:
        BadBundle: the model cannot be opened.
        NoRuntime: the settings ask for a runtime or device that is not to be had here.
        TintypeError: a process of the pool died, or the model failed.
    """
    processes = min(len(os.sched_getaffinity(0)), listing.chunks)
    start = (version, replace(settings, variant=variant), side(listing.files), os.getpid())
    # A fork is quicker, and must not take over the threads that have listed a folder in the cloud.
    context = multiprocessing.get_context("fork" if isinstance(folder, Path) else "spawn")
    with ProcessPoolExecutor(processes, context, _open_model, start) as pool:
        running: set[Future[Done]] = set()
        try:
            for number in range(listing.chunks):
                running.add(pool.submit(_do_chunk, job, folder, number))
                if len(running) >= processes * WINDOW:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in running)
        except BrokenProcessPool:
            message = "a process that classified died (killed, or out of memory); the same command goes on from here"
            raise TintypeError(message) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _open_model(version: Path, settings: Settings, thumbnail: int, parent: int) -> None:
    global _model  # noqa: PLW0603 - the one model of this process
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the work
    try:
        bundle = bundles.read(version)
        opened = open_best(bundle, settings, threads=1)
        _model = Classifier(bundle, opened.runtime, opened.best_batch, settings.max_pixels, thumbnail=thumbnail)
    except TintypeError as error:
        _model = error


def _do_chunk(job: Path, folder: Folder, number: int) -> Done:
    if isinstance(_model, TintypeError):
        raise _model
    chunk = read_chunk(job / "inputs", number)
    part = job / "parts" / chunk.part
    if not is_whole(part, len(chunk.inputs)):
        try:
            see(folder)
            rows = classify_chunk(folder, chunk.inputs, _model)
            see(folder)  # one that went away meanwhile has no files, and none of them is to blame
            write_part(part, rows)
        except MemoryError:
            raise TintypeError("there is not enough memory; free some, and the same command goes on") from None
        except NotNow as error:
            raise NotNow(f"{error}; the same command goes on") from None
    return Done(number, len(chunk.inputs))
