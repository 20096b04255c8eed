"""A job of ten million files: how fast it is planned, and what the server, the workers and Redis hold meanwhile.

python -m benchmarks.scale [--files 10000000] [--chunk 0] [--home HOME --model NAME]

Real are the server, Redis, Celery, the planner, the listing with its sorting, the leases, parts and results; the files
only have names, and their answers are made up (`benchmarks.names_worker`). `--chunk` sets the files of a chunk, as a
slow model would: 0 leaves it to the worker. It needs about 1 kB of disk for each file.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
from tqdm import tqdm

from artifacts.store import Store
from benchmarks import subject
from serving.jobs.job import OVER, Job, Plan
from serving.jobs.planner import Planner
from serving.jobs.progress import describe
from serving.jobs.store import Jobs, Order
from tests.deployment import Deployment, Program, undelayed_redis
from tests.jobs import Kept
from tests.real import Home

EVERY = 1.0  # seconds between two samples
WORKERS = 2
MEGABYTE = 1e6
QUEUE = "tintype:celery:batch"
WORKER = ("-m", "benchmarks.names_worker")
WHATEVER_SIZE = 10**12  # bytes of a chunk: `--chunk` alone counts


class Programs(NamedTuple):
    """All that run."""

    deployment: Deployment
    server: Program
    workers: list[Program]
    redis: psutil.Process


class Highest:
    """The highest of each figure."""

    def __init__(self) -> None:
        self.values: dict[str, float] = defaultdict(float)

    def see(self, name: str, value: float) -> None:
        """One more."""
        self.values[name] = max(self.values[name], value)


def main() -> None:
    """Run a job, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000_000)
    parser.add_argument("--chunk", type=int, default=0, help="files of a chunk (default: as the worker plans)")
    parser.add_argument("--home", type=Path, help="with a model in production (default: one is trained)")
    parser.add_argument("--model", default=subject.MODEL)
    arguments = parser.parse_args()
    models = (arguments.home or subject.make().home) / "models"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".scale-") as folder:
        home = Home(Path(folder, "home"))
        home.path.mkdir()
        (home.path / "models").mkdir()
        (home.path / "models" / arguments.model).symlink_to(models.resolve() / arguments.model)
        job = _order(home, arguments)
        seen = _watch(home, job, arguments.files)
        _report(job, seen, arguments.files)


def _order(home: Home, arguments: argparse.Namespace) -> Job:
    version = Store(home.path / "models").catalogue(arguments.model)[0]
    (home.path / "names").mkdir()
    model = {key: version[key] for key in ("name", "version", "sha256")}
    job = Jobs(home.path / "jobs").create(Order(home.path / "names", model, 40_000_000))
    if arguments.chunk:
        (variant, entry), *_ = version["variants"].items()
        job.agree(Plan(variant, entry["best_batch"], arguments.chunk, WHATEVER_SIZE))
    return job


def _watch(home: Home, job: Job, files: int) -> Highest:
    seen = Highest()
    redis = undelayed_redis(home.path / "redis").start()
    deployment = Deployment(home, redis, home.path)
    try:
        server = deployment.server()
        workers = [deployment.worker(command=WORKER, FILES=str(files)) for _ in range(WORKERS)]
        running = Programs(deployment, server, workers, psutil.Process(redis.process.pid))
        planner = Planner(Jobs(home.path / "jobs"), Kept())
        with tqdm(total=files, unit=" files", dynamic_ncols=True) as bar:
            while job.status() not in OVER:
                _sample(running, job, planner, seen, bar)
                time.sleep(EVERY)
        for number, worker in enumerate(workers, 1):
            times = psutil.Process(worker.pid).cpu_times()
            seen.see(f"worker {number}, processor, s", times.user + times.system)
    finally:
        deployment.end()
        redis.stop()
    if reason := job.reason():
        sys.exit(f"the job is {job.status()}: {reason}")
    return seen


def _sample(running: Programs, job: Job, planner: Planner, seen: Highest, bar: "tqdm[None]") -> None:
    for name, look in (("a planner's turn", planner.turn), ("the status", partial(describe, job))):
        began = time.process_time()
        look()
        seen.see(f"{name}, processor, ms", 1000 * (time.process_time() - began))
    began = time.perf_counter()
    _, told = running.server.client.get(f"/jobs/{job.id}")
    seen.see("GET /jobs/<id>, ms", 1000 * (time.perf_counter() - began))
    bar.n = told["done"]
    bar.set_description(f"{told['status']}, {told['total']:,} found")
    for name, program in {"server": running.server, **{each.name: each for each in running.workers}}.items():
        seen.see(f"{name}, all its processes, MB", _memory(program.family()))
    seen.see("Redis, MB", _memory([running.redis]))
    with contextlib.closing(running.deployment.redis.client()) as client:
        seen.see("hints that wait", client.llen(QUEUE))


def _memory(processes: list[psutil.Process]) -> float:
    """Their own, and a share of what they have in common."""
    total = 0.0
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_full_info().pss
    return total / MEGABYTE


def _report(job: Job, seen: Highest, files: int) -> None:
    began = (job.inputs / "plan.json").stat().st_mtime
    listed = (job.inputs / "listed.json").stat().st_mtime - began
    classified = max(path.stat().st_mtime for path in job.parts.glob("*/*.parquet")) - began
    whole = (job.path / "summary.json").stat().st_mtime - began
    summary = json.loads((job.path / "summary.json").read_bytes())
    listing = job.listed()
    print(f"\n{summary['total']:,} files in {listing.chunks if listing else 0:,} chunks")
    print(f"listed        {listed:8,.0f} s {files / listed:10,.0f} files/s")
    print(f"all parts     {classified:8,.0f} s {files / classified:10,.0f} files/s")
    print(f"then results  {whole - classified:8,.0f} s {files / (whole - classified):10,.0f} rows/s")
    for name, value in seen.values.items():
        print(f"{name:40} {value:10,.1f}")
    for name in ("inputs", "parts"):
        print(f"{name}/, bytes a file {_bytes(job.path / name) / files:24,.1f}")
    for name in ("results.csv", "results.jsonl", "results.parquet"):
        print(f"{name}, bytes a file {(job.path / name).stat().st_size / files:18,.1f}")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
