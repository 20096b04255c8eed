"""All trainings: `trainings/<id>/`, each made in one step, and the marks of those that a trainer is to carry out.

    trainings/20261121T213000123-5f0c9a21/    a training; ids sort by time
    trainings/.active/<id>                    one that was ordered over HTTP and is not over
    trainings/.keys/<sha256>                  the training that a request with this Idempotency-Key made
    trainings/.new-…/                         one in the making

What `tintype retrain` makes lies beside them, and is carried out by the command itself.
"""

import json
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from artifacts import bundle, files
from artifacts.errors import BadBundle, TintypeError, UnknownModel, WrongUse
from artifacts.run import new_id
from artifacts.store import Reference, Store
from serving.errors import KeyReused, UnknownTraining
from serving.jobs import leases
from serving.jobs.store import Key
from serving.trainings.training import OVER, REQUEST, Order, Status, Training, read_training

_ID = re.compile(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{8}")


class Trainings:
    """The trainings under one folder, which several hosts may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, order: Order, after: str | None, key: Key | None = None) -> Training:
        """Make a training; with a key that is known, the one that it made before.

        Args:
            order: what is asked for.
            after: the run of the version in production, from `earlier_run`.
            key: so that a request can be sent again safely.

        Raises:
            KeyReused: the key came with another request.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        name = self._name(key)
        with suppress(UnknownTraining):
            return self.get(name)
        new = self.root / f".new-{name}-{secrets.token_hex(4)}"
        try:
            new.mkdir()
            leases.make_folder(new / "leases")
            created = datetime.now(UTC).isoformat(timespec="seconds")
            record = {"id": name, "created": created, "run": new_id(order.name), "after": after, "order": asdict(order)}
            files.write_json(new / "training.json", record)
            files.fsync_tree(new)
            if order.source == REQUEST:
                self._activate(name)
            new.rename(self.root / name)
        except OSError:  # the same request, sent twice at once: the other was quicker
            if not (self.root / name).exists():
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
        files.fsync(self.root)
        return self.get(name)

    def get(self, name: str) -> Training:
        """A training by its id.

        Raises:
            UnknownTraining: there is none.
            TintypeError: it is damaged.
        """
        if not _ID.fullmatch(name):
            raise UnknownTraining(f"there is no training {name[:80]!r}; an id reads like 20261121T213000123-5f0c9a21")
        return read_training(self.root / name)

    def latest(self) -> Training:
        """The newest that is not over.

        Raises:
            UnknownTraining: there is none.
        """
        for training in self.page(limit=len(self._ids())):
            if training.status() not in OVER:
                return training
        raise UnknownTraining("there is no training to go on with: all are over")

    def page(self, limit: int, before: str | None = None) -> list[Training]:
        """The newest trainings first, at most `limit`; with `before`, those older than that one."""
        found = sorted((name for name in self._ids() if before is None or name < before), reverse=True)
        trainings = []
        for name in found[:limit]:
            with suppress(TintypeError):  # damaged: the others are shown all the same
                trainings.append(self.get(name))
        return trainings

    def active(self) -> list[Training]:
        """Those that a trainer is to carry out, oldest first."""
        with suppress(FileNotFoundError):
            names = sorted(path.name for path in (self.root / ".active").iterdir())
            return [training for name in names if (training := self._active(name))]
        return []

    def cancel(self, name: str) -> Training:
        """Stop a training; one that is over stays as it is."""
        training = self.get(name)
        if training.status() not in OVER:
            training.mark(Status.CANCELLED, "cancelled by request")
        return training

    def resume(self, name: str) -> Training:
        """Let a training go on that was cancelled or failed; any other stays as it is."""
        training = self.get(name)
        training.unmark()
        if training.status() not in OVER and training.order.source == REQUEST:
            training.leases.note("deaths").unlink(missing_ok=True)
            self._activate(name)
        return training

    def _ids(self) -> list[str]:
        with suppress(FileNotFoundError):
            return [path.name for path in self.root.iterdir() if _ID.fullmatch(path.name)]
        return []

    def _active(self, name: str) -> Training | None:
        """An active training; its mark is taken away when it is over."""
        try:
            training = self.get(name)
        except TintypeError:  # in the making, or damaged
            return None
        if training.status() not in OVER:
            return training
        (self.root / ".active" / name).unlink(missing_ok=True)
        if training.status() not in OVER:  # it was resumed between the two looks
            self._activate(name)
            return training
        return None

    def _activate(self, name: str) -> None:
        (self.root / ".active").mkdir(parents=True, exist_ok=True)
        (self.root / ".active" / name).touch()

    def _name(self, key: Key | None) -> str:
        """A new id, or the one that a key stands for."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
        name = f"{moment}-{secrets.token_hex(4)}"
        if key is None:
            return name
        (self.root / ".keys").mkdir(exist_ok=True)
        path = self.root / ".keys" / files.sha256(key.text.encode())
        files.write_new(path, json.dumps({"training": name, "request": key.digest}))
        known = json.loads(path.read_bytes())
        if known["request"] != key.digest:
            raise KeyReused("this Idempotency-Key came with another request before; make up a new one")
        return str(known["training"])


def earlier_run(store: Store, runs: Path, name: str, preset: str | None) -> str | None:
    """The run of the version in production, whose recipe and division are kept; None for a model that is new.

    Raises:
        WrongUse: there is a version in production, but its run is not here, and no preset is named.
    """
    try:
        version = store.resolve(Reference(name))
    except UnknownModel:
        return None
    try:
        run = bundle.read(store.path(name, version)).manifest.get("run", {}).get("id")
    except BadBundle:  # a new version may well be what mends it
        run = None
    if run and (runs / run / "config.toml").is_file():
        return str(run)
    if preset is None:
        raise WrongUse(
            f"what {name}@{version} was trained with is not known here ({run or 'its run'} is not in {runs}); name a "
            "preset"
        )
    return None
