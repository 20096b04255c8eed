"""The story of a folder job in one process: list -> chunks on threads -> parts -> results.

Decoding overlaps inference because every thread does a whole chunk: while one is inside ONNX Runtime, which needs no
Python, another decodes. Queued jobs will hand the same chunks to workers; the job's directory stays the truth.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from artifacts import bundle as bundles
from artifacts import files
from artifacts.errors import WrongUse
from artifacts.settings import Settings
from serving.engine.live import VARIANT
from serving.engine.onnx import open_onnx
from serving.jobs.chunk import Classifier, classify_chunk
from serving.jobs.inputs import Chunk, read_listing, write_listing
from serving.jobs.parts import is_whole, write_part
from serving.jobs.results import write_results

WINDOW = 2  # chunks handed out for each thread: one at work, one ready

Progress = Callable[[int, int], None]  # (files done, files in all)


def job_id(folder: Path, identity: dict[str, Any]) -> str:
    """The same for the same folder and model, so that the same command finds its own job again."""
    seed = json.dumps([str(folder.resolve()), identity], sort_keys=True)
    return f"{folder.resolve().name}-{files.sha256(seed.encode())[:8]}"


def classify(folder: Path, version: Path, job: Path | None, settings: Settings, progress: Progress) -> Path:
    """Classify every file of `folder` with the bundle at `version`; return the job's directory with its results.

    What an earlier run of the same job has finished is kept. `job` defaults to one under the home folder.

    Raises:
        WrongUse: the folder is missing or empty, or `job` holds a job of another folder or model.
        BadBundle: the model cannot be loaded.
        Busy: another process works on this job.
    """
    threads = len(os.sched_getaffinity(0))
    bundle = bundles.verify(version)
    identity = bundle.identity(VARIANT)
    job = job or settings.jobs / job_id(folder, identity)
    if not folder.is_dir():
        raise WrongUse(f"{folder} is not a folder; give one that holds pictures")
    if job.resolve() == folder.resolve():
        raise WrongUse(f"{job} holds the pictures themselves; choose another --out")
    job.mkdir(parents=True, exist_ok=True)
    with files.locked(job / ".lock", wait=False, busy=f"another process works on {job}; wait until it has finished"):
        _pin(job, folder, identity)
        total = write_listing(folder, job / "inputs", skip=job)
        model = Classifier(bundle, open_onnx(bundle, VARIANT, 1), bundle.best_batch(VARIANT), settings.max_pixels)
        parts = _run_chunks(job, folder, model, threads, lambda done: progress(done, total))
        _sweep(job, parts)
        write_results(job, folder, parts, identity, len(bundle.labels))
    return job


def _pin(job: Path, folder: Path, identity: dict[str, Any]) -> None:
    """Write `job.json`, or see that the one that is there means the same."""
    record = job / "job.json"
    meant = {"folder": str(folder.resolve()), "model": identity}
    if not record.exists():
        if strange := [path.name for path in job.iterdir() if not path.name.startswith(".")]:
            raise WrongUse(f"{job} is not empty and holds no job ({strange[0]}); choose another --out")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        files.write_json(record, {"id": job.name, "created": created, **meant})
        return
    try:
        pinned = json.loads(record.read_bytes())
        was = f"{pinned['folder']} with {pinned['model']['name']}@{pinned['model']['version']}"
    except (ValueError, KeyError, TypeError):
        raise WrongUse(f"{record} is damaged; choose another --out") from None
    if any(pinned[key] != value for key, value in meant.items()):
        now = f"{meant['folder']} with {identity['name']}@{identity['version']}"
        raise WrongUse(f"{job} holds the job of {was}; this is {now}; choose another --out")


def _run_chunks(job: Path, folder: Path, model: Classifier, threads: int, done: Callable[[int], None]) -> list[Path]:
    """Have every chunk's part on the disk; return the parts in order."""
    (job / "parts").mkdir(exist_ok=True)
    parts: list[Path] = []
    finished = 0
    for chunk in _in_parallel(job, folder, model, threads, parts):
        finished += chunk
        done(finished)
    return parts


def _in_parallel(job: Path, folder: Path, model: Classifier, threads: int, parts: list[Path]) -> Iterator[int]:
    """Number of files of each chunk, as it is done; `parts` is filled in order of the listing."""

    def run(chunk: Chunk, part: Path) -> int:
        if not is_whole(part, len(chunk.inputs)):
            write_part(part, classify_chunk(folder, chunk.inputs, model))
        return len(chunk.inputs)

    with ThreadPoolExecutor(threads, thread_name_prefix="chunk") as pool:
        running: set[Future[int]] = set()
        for chunk in read_listing(job / "inputs"):
            parts.append(job / "parts" / chunk.part)
            running.add(pool.submit(run, chunk, parts[-1]))
            if len(running) >= threads * WINDOW:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in running)


def _sweep(job: Path, parts: list[Path]) -> None:
    """Remove parts of an older listing, and what a kill has left half-written."""
    wanted = {part.name for part in parts}
    for path in (job / "parts").iterdir():
        if path.name not in wanted:
            path.unlink()
    for path in job.glob(".*.part"):
        path.unlink()
