"""One job: what it was asked to do, and how it stands, both read from its directory.

    jobs/<id>/job.json        what was asked: never changes
    jobs/<id>/inputs/         chunks, as they are listed, then listed.json; plan.json: what all who work on it agree on
    jobs/<id>/leases/         who is at work
    jobs/<id>/parts/          a part for every chunk that is done, a thousand a folder
    jobs/<id>/paused          a marker; its text says why. Likewise `failed` and `cancelled`
    jobs/<id>/summary.json    comes last: with it the results are complete
    jobs/<id>/webhook/        what is told of its end, and how far that is

The status is nowhere written down, so no kill can leave a wrong one.
"""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from artifacts import files
from artifacts.errors import TintypeError
from serving.errors import UnknownJob
from serving.jobs.chunk import BUNCH
from serving.jobs.folders import Folder, to_folder
from serving.jobs.inputs import Listing, read_listed
from serving.jobs.leases import Leases


class Status(StrEnum):
    """How a job stands."""

    QUEUED = "queued"  # no worker has begun with it
    RUNNING = "running"  # it is being listed, classified, or its results are being written
    PAUSED = "paused"  # something is in the way (`reason`); it goes on by itself once that is gone
    SUCCEEDED = "succeeded"  # its results are complete; unreadable pictures are counted in them
    FAILED = "failed"  # it cannot go on (`reason`); once that is mended, a person may resume it
    CANCELLED = "cancelled"  # a person stopped it, and may resume it


OVER = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
MARKERS = (Status.FAILED, Status.CANCELLED, Status.PAUSED)  # files of these names; the first that is there counts
NO_ROOM = "the volume of the jobs has no room left"  # what an empty marker says: where none is, no text fits either


@dataclass(frozen=True)
class Plan:
    """What all who work on a job agree on; written by the first of them."""

    variant: str
    batch: int  # pictures that the model is given at a time
    files: int  # of a chunk, at most
    bytes: int  # of a chunk, about
    bunch: int = BUNCH  # pictures that are looked through for doubles together; chunks end where one does
    ramp: bool = False  # the first chunks are small


@dataclass(frozen=True)
class Job:
    """A job as it was asked for."""

    path: Path
    created: str  # ISO 8601
    folder: Folder
    model: dict[str, Any]  # name, version, sha256
    max_pixels: int
    priority: int
    source: str  # folder, manifest or upload
    manifest: str  # its name in inputs/, or nothing
    webhook: str = ""  # an address that is told of its end

    @property
    def id(self) -> str:
        """The name of its directory."""
        return self.path.name

    @property
    def inputs(self) -> Path:
        """Where its chunks are listed."""
        return self.path / "inputs"

    @property
    def parts(self) -> Path:
        """Where its parts are."""
        return self.path / "parts"

    @cached_property
    def leases(self) -> Leases:
        """Who is at work on it."""
        return Leases(self.path / "leases")

    def status(self) -> Status:
        """How it stands now."""
        if (self.path / "summary.json").exists():
            return Status.SUCCEEDED
        for marker in MARKERS:
            if (self.path / marker).exists():
                return marker
        return Status.RUNNING if (self.inputs / "plan.json").exists() else Status.QUEUED

    def reason(self) -> str | None:
        """Why it is paused or failed."""
        for marker in MARKERS:
            with suppress(FileNotFoundError):
                return (self.path / marker).read_text(encoding="utf-8") or NO_ROOM
        return None

    def seconds_over(self) -> float | None:
        """For how long it has been over; None when it is not."""
        for name in ("summary.json", Status.FAILED, Status.CANCELLED):
            with suppress(FileNotFoundError):
                return time.time() - (self.path / name).stat().st_mtime
        return None

    def mark(self, status: Status, reason: str) -> None:
        """Pause, fail or cancel it; an end stays the first one. On a full disk an empty marker must do."""
        path, write = self.path / status, files.write_new if status in OVER else files.write_atomic
        try:
            write(path, reason)
        except OSError:
            path.touch()

    def unmark(self, *markers: Status) -> None:
        """Take markers away, if they are there."""
        for marker in markers:
            (self.path / marker).unlink(missing_ok=True)

    def listed(self) -> Listing | None:
        """How much there is; None while it is still being found."""
        return read_listed(self.inputs)

    def plan(self) -> Plan | None:
        """What was agreed on; None before anybody has begun."""
        with suppress(FileNotFoundError):
            return Plan(**json.loads((self.inputs / "plan.json").read_bytes()))
        return None

    def agree(self, plan: Plan) -> Plan:
        """The plan of the first who had one."""
        files.write_new(self.inputs / "plan.json", json.dumps(vars(plan)))
        return self.plan() or plan


def read_job(path: Path) -> Job:
    """A job by its directory.

    Raises:
        UnknownJob: there is none.
        TintypeError: it is damaged.
    """
    try:
        record = json.loads((path / "job.json").read_bytes())
        fields = {name: record[name] for name in ("created", "model", "max_pixels", "priority", "source", "manifest")}
        return Job(path, folder=to_folder(record["folder"]), webhook=record.get("webhook", ""), **fields)
    except (FileNotFoundError, NotADirectoryError):
        raise UnknownJob(f"there is no job {path.name!r}") from None
    except (ValueError, KeyError, TypeError):
        raise TintypeError(f"the job {path.name} is damaged: its job.json cannot be read") from None
