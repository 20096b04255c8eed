"""One training: what it was asked to do, and how it stands, both read from its directory.

    trainings/<id>/training.json     what was asked, and the id that its run will have: never changes
    trainings/<id>/phase             what is being done; the version, once there is one, stands in `version`
    trainings/<id>/comparison.json   what came of comparing it with the version in production
    trainings/<id>/failed            a marker; its text says why. Likewise `cancelled`
    trainings/<id>/leases/           who is at work
    trainings/<id>/log.txt           what the process that carries it out says
    trainings/<id>/outcome.json      comes last: {"version", "deployed", "reason"}

As of a job, the status is nowhere written down, so no kill can leave a wrong one.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from artifacts import files
from artifacts.errors import TintypeError
from serving.errors import UnknownTraining
from serving.jobs.leases import Leases

WORK = "work"  # name of the lease
COMMAND, REQUEST = "command", "request"  # who ordered it: `tintype retrain` itself, or POST /trainings


class Phase(StrEnum):
    """What is being done."""

    TRAINING = "training"
    EXPORTING = "exporting"
    COMPARING = "comparing"
    DEPLOYING = "deploying"


class Status(StrEnum):
    """How a training stands."""

    QUEUED = "queued"  # no trainer is at work on it
    RUNNING = "running"
    PAUSED = "paused"  # a command that was interrupted: `tintype retrain --resume` goes on with it
    SUCCEEDED = "succeeded"  # deployed or, where it was not asked for or refused, not (`reason`)
    FAILED = "failed"  # it cannot go on (`reason`); once that is mended, a person may resume it
    CANCELLED = "cancelled"  # a person stopped it, and may resume it


OVER = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
MARKERS = (Status.FAILED, Status.CANCELLED)  # files of these names; the first that is there counts


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    name: str  # of the model
    data: str  # a named data set, or the absolute path of a folder
    data_dir: str | None = None  # local copies of a named data set
    preset: str | None = None  # None: that of `after`
    overrides: dict[str, str] = field(default_factory=dict)  # of the recipe
    precisions: str | None = None  # of the export; None: all
    deploy: bool = False
    require: str = "none"
    canary: float | None = None  # share of the requests that it is given first; None: all at once
    seconds: float = 600.0  # for which it is
    source: str = COMMAND
    who: str = ""  # asked for it over HTTP, for the audit


@dataclass(frozen=True)
class Training:
    """A training as it was asked for."""

    path: Path
    created: str  # ISO 8601
    order: Order
    run: str  # id
    after: str | None  # id of the run of the version that was in production

    @property
    def id(self) -> str:
        """The name of its directory."""
        return self.path.name

    @property
    def log(self) -> Path:
        """What the process that carries it out says."""
        return self.path / "log.txt"

    @cached_property
    def leases(self) -> Leases:
        """Who is at work on it."""
        return Leases(self.path / "leases")

    def status(self) -> Status:
        """How it stands now."""
        if (self.path / "outcome.json").exists():
            return Status.SUCCEEDED
        for marker in MARKERS:
            if (self.path / marker).exists():
                return marker
        claim = self.leases.claims().get(WORK)
        if claim and claim.live:
            return Status.RUNNING
        return Status.QUEUED if self.order.source == REQUEST else Status.PAUSED

    def reason(self) -> str | None:
        """Why it failed or was cancelled."""
        for marker in MARKERS:
            with suppress(FileNotFoundError):
                return (self.path / marker).read_text(encoding="utf-8")
        return None

    def mark(self, marker: Status, reason: str) -> None:
        """Fail or cancel it. On a full disk an empty marker must do."""
        try:
            files.write_atomic(self.path / marker, reason)
        except OSError:
            (self.path / marker).touch()

    def unmark(self) -> None:
        """Take the markers away, if they are there."""
        for marker in MARKERS:
            (self.path / marker).unlink(missing_ok=True)

    def phase(self) -> Phase | None:
        """What is being done, or was when it stopped; None before it began."""
        with suppress(FileNotFoundError, ValueError):
            return Phase((self.path / "phase").read_text(encoding="utf-8"))
        return None

    def enter(self, phase: Phase) -> None:
        """Say what is being done."""
        files.write_atomic(self.path / "phase", phase)

    def version(self) -> int | None:
        """The version that came of it; None while there is none."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.path / "version").read_text(encoding="utf-8"))
        return None

    def exported(self, version: int) -> None:
        """Say which version came of it."""
        files.write_atomic(self.path / "version", str(version))

    def comparison(self) -> dict[str, Any] | None:
        """{"passed", "sentence", "candidate", "current", "page"}; None before it was compared, or with nothing."""
        return self._json("comparison.json")

    def compared(self, told: dict[str, Any]) -> None:
        """Say what came of the comparison."""
        files.write_json(self.path / "comparison.json", told)

    def outcome(self) -> dict[str, Any] | None:
        """{"version", "deployed", "reason"}; None while it is not over."""
        return self._json("outcome.json")

    def finish(self, version: int, reason: str | None, *, deployed: bool) -> None:
        """Say that it is over."""
        files.write_json(self.path / "outcome.json", {"version": version, "deployed": deployed, "reason": reason})

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads((self.path / name).read_bytes()))
        except (OSError, ValueError):
            return None


def read_training(path: Path) -> Training:
    """A training by its directory.

    Raises:
        UnknownTraining: there is none.
        TintypeError: it is damaged.
    """
    try:
        record = json.loads((path / "training.json").read_bytes())
        order = Order(**record["order"])
        return Training(path, record["created"], order, record["run"], record["after"])
    except (FileNotFoundError, NotADirectoryError):
        raise UnknownTraining(f"there is no training {path.name!r}") from None
    except (ValueError, KeyError, TypeError):
        raise TintypeError(f"the training {path.name} is damaged: its training.json cannot be read") from None
