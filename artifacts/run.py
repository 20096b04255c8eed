"""What a training run leaves behind: `runs/<id>/`.

    config.toml       everything resolved, seed included      labels.json       class names, in the order of the outputs
    model.keras       the best weights                        history.csv       a row an epoch
    metrics.json      on validation and test                  report.html       the plots
    split.json        which file went where, with sha256      environment.json  versions and machine
    pictures.npz      held-out encoded pictures, for the parity gate (the exporter never sees the data set)
    test_pictures.npz      more of them, of the test part, by which reduced precision is judged
    training_pictures.npz  encoded pictures of the training part, by which int8 is calibrated

    tensorboard/      the same figures as events          checkpoint.npz    until it is finished

`config.toml` is there before the first epoch; `metrics.json` is written last: a directory without it is a run that did
not finish.
"""

import json
import secrets
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from artifacts.errors import BadRun


@dataclass(frozen=True)
class Run:
    """A run."""

    path: Path

    @property
    def id(self) -> str:
        """Sorts by time."""
        return self.path.name

    @property
    def model_file(self) -> Path:
        """The Keras model with the best weights: uint8 (N, H, W, C) -> float32 (N, classes)."""
        return self.path / "model.keras"

    @property
    def pictures_file(self) -> Path:
        """Held-out encoded pictures."""
        return self.path / "pictures.npz"

    @property
    def test_pictures_file(self) -> Path:
        """Encoded pictures of the test part; an imported model has none without labelled pictures."""
        return self.path / "test_pictures.npz"

    @property
    def training_pictures_file(self) -> Path:
        """Encoded pictures of the training part; as above."""
        return self.path / "training_pictures.npz"

    @property
    def checkpoint_file(self) -> Path:
        """Where a training that was killed goes on; gone when it has finished."""
        return self.path / "checkpoint.npz"

    @property
    def report_file(self) -> Path:
        """The report, one self-contained page."""
        return self.path / "report.html"

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / "metrics.json").exists()

    def config(self) -> dict[str, Any]:
        """Everything that was resolved."""
        return tomllib.loads(self._text("config.toml"))

    def labels(self) -> list[str]:
        """Class names, in the order of the outputs."""
        return list(json.loads(self._text("labels.json")))

    def metrics(self) -> dict[str, Any]:
        """{"validation": {"accuracy", "loss", …}, "test": {…}}."""
        return dict(json.loads(self._text("metrics.json")))

    def data_digest(self) -> str:
        """sha256 over the division of the data: equal when the same files went to the same places."""
        return str(self.division()["digest"])

    def division(self) -> dict[str, Any]:
        """{"train": [{"file", "sha256", "label"}, …], "validation", "test", "digest", …}."""
        return dict(json.loads(self._text("split.json")))

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadRun(f"{self.path / name} cannot be read ({error}); train the run again") from error


def new_id(name: str) -> str:
    """A run's id: UTC time, the model's name, four random digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(2)}"


def finished(runs: Path) -> list[Run]:
    """All finished runs, oldest first."""
    return [Run(path.parent) for path in sorted(runs.glob("*/metrics.json"))]


def begun(runs: Path) -> list[Run]:
    """All runs, finished or not, oldest first."""
    return [Run(path.parent) for path in sorted(runs.glob("*/config.toml"))]


def unfinished(runs: Path, reference: str) -> Run:
    """A run that was begun and has not finished, by path, by id, by the beginning of its id, or the newest: `latest`.

    Raises:
        BadRun: there is none, it is finished, or more than one begins like this.
    """
    path = Path(reference)
    if "/" in reference or path.is_dir():
        return _check_unfinished(Run(path.absolute()))
    known = begun(runs)
    waiting = [run for run in known if not run.finished]
    if reference == "latest":
        found = waiting[-1:]
    else:
        found = [run for run in known if run.id.startswith(reference)]
        found = [run for run in found if run.id == reference] or found
    if len(found) == 1:
        return _check_unfinished(found[0])
    if found:
        raise BadRun(f"{len(found)} runs begin with {reference!r}: {', '.join(run.id for run in found)}; give one id")
    have = f"unfinished: {', '.join(run.id for run in waiting)}" if waiting else "none is unfinished"
    raise BadRun(f"there is no run {reference!r} to go on with in {runs}; {have}")


def _check_unfinished(run: Run) -> Run:
    if not (run.path / "config.toml").is_file():
        raise BadRun(f"{run.path} is not a training run (it has no config.toml); see `tintype runs`")
    if run.finished:
        raise BadRun(f"run {run.id} has finished; there is nothing to go on with")
    return run


def find(runs: Path, reference: str) -> Run:
    """A run by path, by id, by the beginning of its id, or the newest by the word `latest`.

    Raises:
        BadRun: there is none, it did not finish, or more than one begins like this.
    """
    path = Path(reference)
    if "/" in reference or path.is_dir():
        if not (path / "metrics.json").is_file():
            raise BadRun(f"{reference} is not a finished training run (it has no metrics.json); see `tintype runs`")
        return Run(path.absolute())
    known = finished(runs)
    found = known[-1:] if reference == "latest" else [run for run in known if run.id.startswith(reference)]
    found = [run for run in found if run.id == reference] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise BadRun(f"{len(found)} runs begin with {reference!r}: {', '.join(run.id for run in found)}; give one id")
    if (runs / reference).is_dir():
        raise BadRun(f"run {reference} has not finished; go on with `tintype train --resume {reference}`")
    have = f"the newest is {known[-1].id}" if known else "there is none yet: `tintype train digits` makes one"
    raise BadRun(f"there is no run {reference!r} in {runs}; {have}")
