"""The story of an import: a Keras model that was made elsewhere becomes a run."""

import platform
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tomli_w
from numpy.typing import NDArray

from artifacts import files
from artifacts.errors import BadModel
from artifacts.fitting import fit
from artifacts.foreign import Evidence, EvidenceFor, Kind, Wanted
from artifacts.run import Run, new_id
from training import backend
from training.importing import keras_file
from training.importing.adapted import opened, wrap
from training.importing.page import render
from training.narration import say

HISTORY = "epoch,loss,accuracy,val_loss,val_accuracy\n"  # and no row: nothing was trained
CLOSE = 1e-5  # the wrapped model against the bare one, fed by hand; they differ by the rounding of a softmax


def import_keras(  # noqa: PLR0913 - what the command line gives
    path: Path, kind: Kind, wanted: Wanted, evidence_for: EvidenceFor, *, runs: Path, name: str
) -> Run:
    """Make a run of a model's file.

    Args:
        path: a .keras or HDF5 file.
        kind: which of the two.
        wanted: what the person says about the model.
        evidence_for: from the pictures' shape to what the model is proven and judged on.
        runs: the folder in which the run's own is made.
        name: of the model.

    Raises:
        BadModel: the file is damaged, brings code that was not allowed, or is no model that can be served.
        WrongUse: the model is another than the person says.
    """
    with keras_file.advice_hidden():
        say(f"reading {path.name}")
        code = keras_file.code_in(path, kind)
        model = keras_file.read(path, kind, allow_code=wanted.allow_code)
        original = opened(model)
        say("looking at how it takes pictures, and what it answers")
        foreign, evidence = fit(original, wanted, evidence_for, say)
        wrapped = wrap(model, foreign)
        pixels = evidence.pictures.decode(*foreign.shape)
        _check_wrapped(wrapped, pixels, foreign.fed_by_hand(original)(pixels))
        metrics = evidence.judge(wrapped.predict_on_batch)
    about = {"file": path.name, "sha256": files.sha256_file(path), "kind": str(kind), "code": code, **foreign.to_json()}
    config = {"name": name, "seed": 0, "judged_on": evidence.source, "imported": about}
    say("writing the run, and reading it back")
    run = Run(runs / new_id(name))
    run.path.mkdir(parents=True)
    try:
        keras_file.write_proven(wrapped, run.model_file, pixels, allow_code=wanted.allow_code)
    except BadModel:
        shutil.rmtree(run.path)
        raise
    _write(run, config, wanted.labels, evidence, metrics)
    return run


def _check_wrapped(wrapped: keras.Model, pixels: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    difference = float(np.abs(wrapped.predict_on_batch(pixels) - expected).max())
    if not difference <= CLOSE:  # `not <=` also refuses NaN
        raise BadModel(f"with its pictures scaled inside, the model answers otherwise, by {difference:.1e}")


def _write(run: Run, config: dict[str, Any], labels: list[str], evidence: Evidence, metrics: dict[str, Any]) -> None:
    """As a training leaves it; metrics.json last, since it says that the run is whole."""
    evidence.pictures.save(run.pictures_file)
    if evidence.test and evidence.training:
        evidence.test.save(run.test_pictures_file)
        evidence.training.save(run.training_pictures_file)
    files.write_json(run.path / "labels.json", labels)
    files.write_atomic(run.path / "split.json", evidence.split)
    files.write_atomic(run.path / "history.csv", HISTORY)
    files.write_atomic(run.path / "config.toml", tomli_w.dumps(config))
    files.write_atomic(run.report_file, render(config, labels, metrics))
    environment = {"python": platform.python_version(), **backend.load(), "platform": platform.platform()}
    files.write_json(run.path / "environment.json", environment)
    files.write_json(run.path / "metrics.json", metrics)
