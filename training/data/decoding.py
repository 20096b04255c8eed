"""Pictures decoded once, by threads, in order: into memory where they fit, else into a file on the disk."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.config import Shape
from training.data import cache

TASK_BYTES = cache.MEGABYTE  # of decoded pictures in one task of a thread
TASK_PICTURES = 64
TASKS_AHEAD = 2  # of each thread


class Outcome(NamedTuple):
    """A picture, uint8 (height, width, channels), and its sha256; or None, "" and the reason why it cannot be read."""

    pixels: NDArray[np.uint8] | None
    sha256: str
    reason: str = ""
    passing: bool = False  # the file could not even be opened, which may be otherwise the next time


class Decoded(NamedTuple):
    """`pixels` uint8 (readable, height, width, channels); of all N the sha256, "" where unreadable, and the reason."""

    pixels: NDArray[np.uint8]
    sha256: list[str]
    reasons: list[str]


Decode = Callable[[int], Outcome]  # position -> the picture


def decoded(one: Decode, count: int, shape: Shape, memory_mb: int, place: cache.Place) -> Decoded:
    """The `count` pictures of `one`; those that cannot be read leave no gap.

    Args:
        one: decodes a picture; called from threads.
        count: N.
        shape: of a decoded picture.
        memory_mb: above it they are kept in `place`, as a numpy.memmap, and found there the next time.
        place: on the disk.

    Raises:
        TintypeError: the disk is full.
    """
    with closing(outcomes(one, count, shape)) as pictures:
        if count * math.prod(shape) > memory_mb * cache.MEGABYTE:
            return Decoded(*cache.kept(place, shape, count, pictures))
        return _in_memory(pictures, count, shape)


def outcomes(one: Decode, count: int, shape: Shape) -> Iterator[Outcome]:
    """All of them in order; never more than a few tasks of each thread are decoded ahead of whoever takes them."""
    threads = os.cpu_count() or 1
    size = max(1, min(TASK_PICTURES, TASK_BYTES // math.prod(shape)))
    waiting: deque[Future[list[Outcome]]] = deque()

    def task(start: int) -> list[Outcome]:
        return [one(position) for position in range(start, min(start + size, count))]

    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(desc="reading pictures", total=count, unit="", disable=None, leave=False) as bar,
    ):
        for start in range(0, count, size):
            waiting.append(pool.submit(task, start))
            if len(waiting) > TASKS_AHEAD * threads:
                yield from _counted(waiting.popleft().result(), bar)
        while waiting:
            yield from _counted(waiting.popleft().result(), bar)


def _in_memory(pictures: Iterator[Outcome], count: int, shape: Shape) -> Decoded:
    pixels = np.empty((count, *shape), dtype=np.uint8)
    sha256, reasons, end = [], [], 0
    for outcome in pictures:
        if outcome.pixels is not None:
            pixels[end] = outcome.pixels
            end += 1
        sha256.append(outcome.sha256)
        reasons.append(outcome.reason)
    return Decoded(pixels[:end], sha256, reasons)


def _counted(found: list[Outcome], bar: "tqdm[None]") -> list[Outcome]:
    bar.update(len(found))
    return found
