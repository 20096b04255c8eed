"""How fast a variant runs on this machine: at every batch size, on one thread and on more, each in its own process.

Such a process has no other model in memory, and no other library's threads. Bigger batches are not always better:
ResNet50 on two cores was measured at 38 images/s at batch 1 and 15 at batch 32.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifacts.bundle import INPUT, OUTPUT

BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS = 0.1  # that one batch size is measured for
LONGEST = 0.5  # seconds a run may take before larger batches are left out: nobody waits for those
AS_FAST = 0.97  # of the best rate: the largest such batch is taken, for it spares the caller the most calls
STATUS = Path("/proc/self/status")


def measure(path: Path, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Run an ONNX file on random pictures of `shape` (height, width, channels).

    Returns:
        {"images_per_second", "best_batch"} of one thread, as serving runs it, and "profile": [{"threads", "batch",
        "images_per_second", "latency_ms", "memory_mb"}], where the memory is the most that the process took for it.
    """
    points = [point for threads in _thread_counts() for point in _in_a_process(path, shape, threads)]
    alone = [point for point in points if point["threads"] == 1]
    most = max(point["images_per_second"] for point in alone)
    best = [point for point in alone if point["images_per_second"] >= AS_FAST * most][-1]
    return {"images_per_second": best["images_per_second"], "best_batch": best["batch"], "profile": points}


def rate(model: bytes, pixels: NDArray[np.uint8]) -> float:
    """Images a second of one batch on one thread, in this process: to compare two models, not to keep."""
    seconds = _timed(_session(model, 1), pixels)
    return len(pixels) / statistics.median(seconds)


def _thread_counts() -> list[int]:
    """1, 2, 4, … and all cores."""
    cores = len(os.sched_getaffinity(0))
    return sorted({1, cores, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)})


def _in_a_process(path: Path, shape: tuple[int, int, int], threads: int) -> list[dict[str, Any]]:
    home = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "exporters.profile", str(path), *map(str, shape), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return [json.loads(line) for line in done.stdout.splitlines()]


def _points(path: Path, shape: tuple[int, int, int], threads: int) -> Iterator[dict[str, Any]]:
    before = _peak_mb()
    session = _session(path.read_bytes(), threads)
    for batch in BATCHES:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8)
        seconds = statistics.median(_timed(session, pixels))
        yield {
            "threads": threads,
            "batch": batch,
            "images_per_second": round(batch / seconds, 1),
            "latency_ms": round(1000 * seconds, 4),
            "memory_mb": round(_peak_mb() - before, 1),
        }
        if seconds > LONGEST:
            break


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _timed(session: onnxruntime.InferenceSession, pixels: NDArray[np.uint8]) -> list[float]:
    """Seconds of each run, after one to warm up."""
    session.run([OUTPUT], {INPUT: pixels})
    seconds: list[float] = []
    while sum(seconds) < SECONDS:
        began = time.perf_counter()
        session.run([OUTPUT], {INPUT: pixels})
        seconds.append(time.perf_counter() - began)
    return seconds


def _peak_mb() -> float:
    """Of this program alone: `getrusage` would begin with what the one that started it had taken."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    file, *numbers = sys.argv[1:]
    height, width, channels, with_threads = map(int, numbers)
    for measured in _points(Path(file), (height, width, channels), with_threads):
        print(json.dumps(measured), flush=True)  # noqa: T201 - to the process that started this one
