"""How fast a variant runs on this machine, and at which batch size."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from artifacts.bundle import INPUT, OUTPUT

BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS = 0.25  # per batch size
AS_FAST = 0.97  # of the best rate: the largest such batch is taken, for it spares the caller the most calls


class Profile(NamedTuple):
    """The best batch size on one thread, and its rate."""

    best_batch: int
    images_per_second: float


def measure(path: Path, shape: tuple[int, int, int]) -> Profile:
    """Run an ONNX file on random pictures of `shape` (height, width, channels) with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rates = {}
    for batch in BATCHES:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8)
        rates[batch] = round(_rate(session, pixels), 1)
    best = max(batch for batch, rate in rates.items() if rate >= AS_FAST * max(rates.values()))
    return Profile(best, rates[best])


def _rate(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> float:
    session.run([OUTPUT], {INPUT: pixels})
    runs, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        session.run([OUTPUT], {INPUT: pixels})
        runs += 1
    return runs * len(pixels) / elapsed
