"""The story of a folder job on one machine: list -> chunks on processes -> parts -> results.

Decoding overlaps inference because every process does a whole chunk: while one decodes, another infers. Queued jobs
will hand the same chunks to workers; the job's directory stays the truth.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from artifacts import bundle as bundles
from artifacts import files
from artifacts.errors import WrongUse
from artifacts.settings import Settings
from serving.engine.variants import plans
from serving.jobs.chunk import BUNCH, Reading, bunch_size
from serving.jobs.folders import Folder, address, exists
from serving.jobs.inputs import read_chunk, write_listing
from serving.jobs.pool import Done, run_chunks
from serving.jobs.results import write_results

Progress = Callable[[int, int], None]  # (files done, files in all)


def job_id(folder: Folder, pinned: dict[str, Any]) -> str:
    """The same for the same folder, model and limits, so that the same command finds its own job again."""
    return f"{Path(address(folder)).name}-{files.sha256(json.dumps(pinned, sort_keys=True).encode())[:8]}"


def classify(folder: Folder, version: Path, job: Path | None, settings: Settings, progress: Progress) -> Path:
    """Classify every file of `folder` with the bundle at `version`; return the job's directory with its results.

    What an earlier run of the same job has finished is kept. `job` defaults to one under the home folder.

    Raises:
        WrongUse: the folder is missing or empty, or `job` holds a job of another folder or model.
        BadBundle: the model cannot be loaded.
        NoRuntime: the settings ask for a runtime or device that is not to be had here.
        Busy: another process works on this job.
        NotNow: the folder is in the cloud, and out of reach.
    """
    bundle = bundles.verify(version)
    variant, batch = plans(bundle, settings)[0].choice
    identity = bundle.identity(variant)
    pinned = {"folder": address(folder), "model": identity, "max_pixels": settings.max_pixels}
    job = job or settings.jobs / job_id(folder, pinned)
    if not exists(folder):
        raise WrongUse(f"{folder} is not a folder; give one that holds pictures")
    if str(job.resolve()) == address(folder):
        raise WrongUse(f"{job} holds the pictures themselves; choose another --out")
    job.mkdir(parents=True, exist_ok=True)
    with files.locked(job / ".lock", wait=False, busy=f"another process works on {job}; wait until it has finished"):
        _pin(job, pinned)
        (job / "parts").mkdir(exist_ok=True)
        listing = write_listing(folder, job / "inputs", job, bunch_size(BUNCH, batch))
        progress(0, listing.files)
        parts = [job / "parts" / read_chunk(job / "inputs", number).part for number in range(listing.chunks)]
        _sweep(job, parts)
        reading = Reading.of(bundle, folder, settings.max_pixels)
        with closing(run_chunks(job, folder, version, variant, listing, settings)) as running:
            came = _in_order(parts, running, lambda done: progress(done, listing.files))
            write_results(job, reading, came, identity, None, listing.hidden)
    return job


def _in_order(parts: list[Path], running: Iterator[Done], progress: Callable[[int], None]) -> Iterator[Path]:
    """The parts, each as soon as it and all before it are there: the table is written while others are being made."""
    finished: set[int] = set()
    files = 0
    for number, part in enumerate(parts):
        while number not in finished:
            done = next(running)
            finished.add(done.number)
            files += done.files
            progress(files)
        yield part


def _pin(job: Path, meant: dict[str, Any]) -> None:
    """Write `job.json`, or see that the one that is there means the same."""
    record = job / "job.json"
    if not record.exists():
        if strange := [path.name for path in job.iterdir() if not path.name.startswith(".")]:
            raise WrongUse(f"{job} is not empty and holds no job ({strange[0]}); choose another --out")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        files.write_json(record, {"id": job.name, "created": created, **meant})
        return
    try:
        pinned = json.loads(record.read_bytes())
        was, now = _named(pinned), _named(meant)
    except (ValueError, KeyError, TypeError):
        raise WrongUse(f"{record} is damaged; choose another --out") from None
    if any(pinned[key] != value for key, value in meant.items()):
        raise WrongUse(f"{job} holds the job of {was}; this is {now}; choose another --out")


def _named(job: dict[str, Any]) -> str:
    model = job["model"]
    variant = f"{model['name']}@{model['version']} in {model['variant']}"
    return f"{job['folder']} with {variant} and at most {job['max_pixels']} pixels"


def _sweep(job: Path, parts: list[Path]) -> None:
    """Remove parts of an older listing, and what a kill has left half-written."""
    wanted = set(parts)
    for path in (job / "parts").glob("*/*"):
        if path not in wanted:
            path.unlink()
    for path in job.glob(".*.part"):
        path.unlink()
