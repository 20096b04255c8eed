"""How far a training is: what its directory and its run's say."""

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

from artifacts.errors import BadRun
from artifacts.run import Run
from serving.trainings.training import Phase, Status, Training


def describe(training: Training, runs: Path) -> dict[str, Any]:
    """What GET /trainings/<id> answers."""
    status, order, outcome = training.status(), training.order, training.outcome() or {}
    return {
        "id": training.id,
        "status": status,
        "phase": training.phase() if status != Status.SUCCEEDED else None,
        **_epochs(training, Run(runs / training.run), status),
        "name": order.name,
        "data": Path(order.data).name,
        "preset": order.preset,
        "deploy": order.deploy,
        "require": order.require,
        "run": training.run if (runs / training.run).is_dir() else None,
        "version": training.version(),
        "deployed": outcome.get("deployed", False),
        "comparison": training.comparison(),
        "reason": outcome.get("reason") or training.reason(),
        "created": training.created,
    }


def epochs_done(run: Run) -> int:
    """Whole epochs that a run has behind it."""
    return len(_history(run))


def _epochs(training: Training, run: Run, status: Status) -> dict[str, Any]:
    """Of the training proper: the last whole epoch, its figures, and the seconds that are left."""
    history = _history(run)
    last, total = history[-1] if history else {}, None
    with suppress(BadRun, KeyError, ValueError):
        total = int(run.config()["epochs"])
    eta = None
    if history and total and status == Status.RUNNING and training.phase() == Phase.TRAINING:
        eta = round(sum(row["seconds"] for row in history) / len(history) * (total - len(history)), 1)
    return {
        "epoch": len(history),
        "epochs": total,
        "loss": last.get("loss"),
        "accuracy": last.get("accuracy"),
        "validation_loss": last.get("val_loss"),
        "validation_accuracy": last.get("val_accuracy"),
        "eta_seconds": eta,
    }


def _history(run: Run) -> list[dict[str, float]]:
    """The rows of history.csv; none before the first epoch is done."""
    try:
        with (run.path / "history.csv").open(encoding="utf-8", newline="") as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError):
        return []
