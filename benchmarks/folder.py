"""Files a second: `tintype classify` on 10,000 JPEG files, beside what decoding and ONNX Runtime cost alone.

python -m benchmarks.folder [--rounds 3]

Two figures: of the whole process, and steady, with start and end taken out by means of a folder of a tenth the size.
Peak memory is shown for both folders: it must not grow with the number of files.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import NamedTuple

from benchmarks import bound, subject


class Timed(NamedTuple):
    """One command: seconds, and the memory of its largest process in MB."""

    seconds: float
    peak: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the median of the rounds counts")
    arguments = parser.parse_args()
    measured = subject.make()
    files = sorted(measured.folder.rglob("*.jpg"))
    few = sum(1 for _ in measured.tenth.rglob("*.jpg"))
    limits, whole, tenth = [], [], []
    for _ in range(arguments.rounds):
        limits.append(bound.measure(measured.bundle, files[:500]).both)
        tenth.append(_classify(measured, measured.tenth))
        whole.append(_classify(measured, measured.folder))
    limit = statistics.median(limits)
    wall, short = (statistics.median(each.seconds for each in runs) for runs in (whole, tenth))
    rate, steady = len(files) / wall, (len(files) - few) / (wall - short)
    print(f"\nresnet20v1, {len(files):,} JPEG files of 32×32; decoding and ONNX Runtime alone allow {limit:,.0f}/s")
    print(f"whole process  {wall:6.2f} s  {rate:7,.0f} files/s  {100 * rate / limit:4.0f} % of it")
    print(f"steady                  {steady:7,.0f} files/s  {100 * steady / limit:4.0f} % of it")
    print(f"peak memory    {tenth[0].peak:4.0f} MB for {few:,} files, {whole[-1].peak:4.0f} MB for {len(files):,}")


def _classify(measured: subject.Subject, folder: Path) -> Timed:
    out = subject.WORK / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, str(subject.ROOT / "tintype.py"), "classify", str(folder), "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=subject.environment(measured.home), stdout=DEVNULL, stderr=DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return Timed(seconds, usage.ru_maxrss / 1000)


if __name__ == "__main__":
    main()
