"""All jobs: `jobs/<id>/`, each made in one step, and the marks of those that are not over.

    jobs/20261121T213000123-5f0c9a21/    a job; ids sort by time
    jobs/.active/<id>                    one that is not over, or whose end is still to be told: so that nobody has to
                                         look at all the old ones
    jobs/.keys/<sha256>                  the job that a request with this Idempotency-Key made
    jobs/.new-…/                         one in the making

What `tintype classify` makes here lies beside them, and is none of these: it is done by the command itself.
"""

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import files
from artifacts.errors import TintypeError
from serving.errors import KeyReused, NotFinished, UnknownJob
from serving.jobs import leases, notice
from serving.jobs.folders import Folder, address, copy
from serving.jobs.job import MARKERS, OVER, Job, Status, read_job
from serving.jobs.parts import counts

UPLOADS = "uploads"  # a folder of a job's own, for pictures that came with the request
PRIORITIES = range(10)  # each step doubles a job's share of the workers
PRIORITY = 5
_ID = re.compile(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{8}")
_HOUR = 3600.0  # seconds: nobody takes longer to make a job


class Order(NamedTuple):
    """What is asked for."""

    folder: Folder | None  # None: the job's own, which `fill` puts pictures into
    model: dict[str, Any]  # name, version, sha256
    max_pixels: int
    priority: int = PRIORITY
    source: str = "folder"
    manifest: str = ""  # of a file in the folder that lists what is to be classified; all of it without one
    webhook: str = ""  # an address that is told of the end


class Key(NamedTuple):
    """An Idempotency-Key, and the sha256 of the request that it came with."""

    text: str
    digest: str


class Jobs:
    """The jobs under one folder, which several hosts may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, order: Order, fill: Callable[[Path], None] | None = None, key: Key | None = None) -> Job:
        """Make a job; with a key that is known, the one that it made before.

        Args:
            order: what is asked for.
            fill: puts the pictures of a request into a folder of the job's own.
            key: so that a request can be sent again safely.

        Raises:
            KeyReused: the key came with another request.
        """
        (self.root / ".active").mkdir(parents=True, exist_ok=True)
        name = self._name(key)
        with suppress(UnknownJob):
            return self.get(name)
        new = self.root / f".new-{name}-{secrets.token_hex(4)}"
        try:
            self._build(new, name, order, fill)
            self._activate(name)
            new.rename(self.root / name)
        except OSError:  # the same request, sent twice at once: the other was quicker
            if not (self.root / name).exists():
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
        files.fsync(self.root)
        return self.get(name)

    def get(self, name: str) -> Job:
        """A job by its id.

        Raises:
            UnknownJob: there is none.
            TintypeError: it is damaged.
        """
        if not _ID.fullmatch(name):
            raise UnknownJob(f"there is no job {name[:80]!r}; an id reads like 20261121T213000123-5f0c9a21")
        return read_job(self.root / name)

    def page(self, limit: int, before: str | None = None) -> list[Job]:
        """The newest jobs first, at most `limit`; with `before`, those older than that one."""
        found = sorted((name for name in self._ids() if before is None or name < before), reverse=True)
        jobs = []
        for name in found[:limit]:
            with suppress(TintypeError):  # deleted meanwhile, or damaged: the others are shown all the same
                jobs.append(self.get(name))
        return jobs

    def all(self, before: str) -> Iterator[Job]:
        """Those whose ids sort before `before`, oldest first."""
        for name in sorted(name for name in self._ids() if name < before):
            with suppress(TintypeError):
                yield self.get(name)

    def active(self) -> list[Job]:
        """Those that are not over, oldest first."""
        return [job for name in self._marked() if (job := self._active(name))]

    def untold(self) -> list[Job]:
        """Those that are over, and whose end is still to be told, oldest first."""
        found = []
        for name in self._marked():
            with suppress(TintypeError):
                job = self.get(name)
                if job.status() in OVER and _is_untold(job):
                    found.append(job)
        return found

    def cancel(self, name: str) -> Job:
        """Stop a job; one that is over stays as it is."""
        job = self.get(name)
        if job.status() not in OVER:
            job.mark(Status.CANCELLED, "cancelled by request")
        return job

    def resume(self, name: str) -> Job:
        """Let a job go on that was cancelled, failed or paused; any other stays as it is."""
        job = self.get(name)
        job.unmark(*MARKERS)
        if job.status() not in OVER:
            notice.forget(job.path)
            self._activate(name)
        return job

    def retry(self, name: str) -> Job:
        """Classify the chunks with rejects of a finished job again, and write its results anew.

        Raises:
            NotFinished: it has not succeeded.
        """
        job = self.get(name)
        if job.status() != Status.SUCCEEDED:
            raise NotFinished(f"{name} is {job.status()}; the rejects of a job that has succeeded can be tried again")
        (job.path / "summary.json").unlink(missing_ok=True)
        notice.forget(job.path)
        for part in job.parts.glob("*/[0-9]*"):
            if counts(part).rejected:
                part.unlink()
        self._activate(name)
        return job

    def delete(self, name: str) -> None:
        """Remove a job that is over, with its results and its uploads.

        Raises:
            NotFinished: it is not over.
        """
        job = self.get(name)
        if job.status() not in OVER:
            raise NotFinished(f"{name} is {job.status()}; cancel it first: POST /jobs/{name}/cancel")
        (self.root / ".active" / name).unlink(missing_ok=True)
        gone = self.root / f".new-{name}-{secrets.token_hex(4)}"
        job.path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def forget_keys(self, seconds: float) -> int:
        """Forget keys as old as that whose jobs are gone; how many."""
        gone = [path for path in (self.root / ".keys").glob("*") if _is_old(path, seconds) and not self._leads(path)]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def heal(self) -> None:
        """Mark every job that is not over or told of, and clear away what was never finished. A planner's start."""
        for name in self._ids():
            with suppress(TintypeError):
                job = self.get(name)
                if job.status() not in OVER or _is_untold(job):
                    self._activate(name)
        for new in self.root.glob(".new-*"):
            if _is_old(new, _HOUR):
                shutil.rmtree(new, ignore_errors=True)

    def _ids(self) -> list[str]:
        with suppress(FileNotFoundError):
            return [path.name for path in self.root.iterdir() if _ID.fullmatch(path.name)]
        return []

    def _marked(self) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(path.name for path in (self.root / ".active").iterdir())
        return []

    def _leads(self, key: Path) -> bool:
        """Whether there is a job that a key made."""
        try:
            return (self.root / str(json.loads(key.read_bytes())["job"])).exists()
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _active(self, name: str) -> Job | None:
        """An active job; its mark is taken away when it is over and told of."""
        try:
            job = self.get(name)
        except TintypeError:  # in the making, or damaged
            return None
        if job.status() not in OVER:
            return job
        if _is_untold(job):
            return None
        (self.root / ".active" / name).unlink(missing_ok=True)
        if job.status() not in OVER:  # it was resumed between the two looks
            self._activate(name)
            return job
        return None

    def _activate(self, name: str) -> None:
        (self.root / ".active").mkdir(parents=True, exist_ok=True)
        (self.root / ".active" / name).touch()

    def _name(self, key: Key | None) -> str:
        """A new id, or the one that a key stands for."""
        name = f"{moment(time.time())}-{secrets.token_hex(4)}"
        if key is None:
            return name
        (self.root / ".keys").mkdir(exist_ok=True)
        path = self.root / ".keys" / files.sha256(key.text.encode())
        files.write_new(path, json.dumps({"job": name, "request": key.digest}))
        known = json.loads(path.read_bytes())
        if known["request"] != key.digest:
            raise KeyReused("this Idempotency-Key came with another request before; make up a new one")
        return str(known["job"])

    def _build(self, new: Path, name: str, order: Order, fill: Callable[[Path], None] | None) -> None:
        for folder in (new, new / "inputs", new / "parts"):
            folder.mkdir()
        leases.make_folder(new / "leases")
        if fill:
            (new / UPLOADS).mkdir()
            fill(new / UPLOADS)
        if order.folder and order.manifest:  # a copy, for what is listed must not change while it is
            copy(order.folder, order.manifest, new / "inputs" / _copy(order.manifest))
        record = {
            "id": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **order._asdict(),
            "folder": address(order.folder or self.root / name / UPLOADS),
            "manifest": order.manifest and _copy(order.manifest),
        }
        files.write_json(new / "job.json", record)
        files.fsync_tree(new)


def moment(seconds: float) -> str:
    """How the id of a job begins that is made at a time (seconds since 1970): ids sort by it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]


def _is_untold(job: Job) -> bool:
    return bool(job.webhook) and not notice.is_settled(job.path)


def _is_old(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > seconds
    except FileNotFoundError:
        return False


def _copy(manifest: str) -> str:
    return f"manifest{Path(manifest).suffix}"
