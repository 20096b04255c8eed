"""What decoding and ONNX Runtime cost alone: no server and no job can be faster with all cores busy."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from artifacts import pixels
from artifacts.bundle import INPUT, OUTPUT, Bundle

SECONDS = 1.0
BATCHES = (1, 2, 4, 8, 16, 32)


class Bound(NamedTuple):
    """Pictures a second: read and decoded on one core, inferred on one core, and both on all cores."""

    decode: float
    infer: float
    both: float


def measure(bundle: Bundle, files: list[Path]) -> Bound:
    """Measure both alone; of inference the best batch size counts."""
    decode = max(_decode_rate(bundle, files) for _ in range(2))
    infer = max(_infer_rate(bundle, batch) for batch in BATCHES)
    return Bound(decode, infer, len(os.sched_getaffinity(0)) / (1 / decode + 1 / infer))


def _decode_rate(bundle: Bundle, files: list[Path]) -> float:
    turn = 0

    def decode() -> None:
        nonlocal turn
        pixels.decode(files[turn % len(files)].read_bytes(), *bundle.shape)
        turn += 1

    return _rate(decode)


def _infer_rate(bundle: Bundle, batch: int) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(bundle.variant_file("fp32"), options, providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(0).integers(0, 256, (batch, *bundle.shape), np.uint8)
    return batch * _rate(lambda: session.run([OUTPUT], {INPUT: pictures}))


def _rate(work: Callable[[], object]) -> float:
    work()
    turns, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        work()
        turns += 1
    return turns / elapsed
