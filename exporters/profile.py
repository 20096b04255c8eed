"""How fast a variant runs on this machine, and at which batch size."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from artifacts.bundle import INPUT, OUTPUT

BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS = 0.25  # per batch size
WORTHWHILE = 1.03  # a larger batch must be this much faster: it also makes every request in it wait


class Profile(NamedTuple):
    """The fastest batch size on one thread, and its rate."""

    best_batch: int
    images_per_second: float


def measure(path: Path, shape: tuple[int, int, int]) -> Profile:
    """Run an ONNX file on random pictures of `shape` (height, width, channels) with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    best = Profile(1, 0.0)
    for batch in BATCHES:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8)
        rate = _rate(session, pixels)
        if rate > best.images_per_second * WORTHWHILE:
            best = Profile(batch, round(rate, 1))
    return best


def _rate(session: onnxruntime.InferenceSession, pixels: np.ndarray) -> float:
    session.run([OUTPUT], {INPUT: pixels})
    runs, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        session.run([OUTPUT], {INPUT: pixels})
        runs += 1
    return runs * len(pixels) / elapsed
