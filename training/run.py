"""The story of a training: pictures and a preset in, `runs/<id>/` out."""

import csv
import io
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w
from tqdm import tqdm

from artifacts import files
from artifacts.errors import BadData
from artifacts.pictures import Pictures, representative
from artifacts.run import Run, new_id
from artifacts.store import check_name
from training import backend, presets, split
from training.config import Recipe, Shape, at_input, resolve, write_shape
from training.data import NAMED, load, model_name
from training.dataset import Data

if TYPE_CHECKING:
    from training.report import Story

HELD_OUT = 16  # pictures that the parity gate asks for at least
SHOWN = 5  # of the pictures that were left out


def train(  # noqa: PLR0913 - what the command line gives
    data: str,
    preset: str | None = None,
    *,
    runs: Path,
    name: str | None = None,
    data_dir: Path | None = None,
    overrides: dict[str, str] | None = None,
) -> Run:
    """Train a model.

    Args:
        data: `digits`, `mnist`, or a folder of pictures.
        preset: which model, and how; without it, the one for this data.
        runs: the folder in which the run's own is made.
        name: of the model; without it, the data's.
        data_dir: local copies of the data set's files.
        overrides: of the preset's recipe, as text: {"epochs": "3"}.

    Raises:
        WrongUse: a preset, key, value or name that does not exist or makes no sense.
        BadData: the pictures are missing, damaged, or cannot be trained on.
        TintypeError: the training diverged.
    """
    started = time.perf_counter()
    chosen = presets.read(preset or presets.default(data))
    wanted = resolve(chosen, overrides or {})
    name = check_name(name or model_name(data))
    pictures = load(data, partial(_at_input, wanted, chosen), data_dir)
    if len(pictures.files) < HELD_OUT:
        raise BadData(f"{data} has {len(pictures.files)} readable pictures; at least {HELD_OUT} are needed")
    recipe, labels = pictures.recipe, pictures.labels
    divided = split.divide(pictures)
    _announce(pictures, divided, chosen.name)

    _say("loading Keras")
    versions = backend.load()  # Keras takes seconds: whatever a person can have got wrong has been said by now
    from training import models
    from training.evaluate import evaluate
    from training.fit import Examples, fit
    from training.report import Story

    examples = {part: Examples(pictures.pixels[rows], pictures.classes[rows]) for part, rows in divided.items()}
    model = models.build(chosen.model, recipe.input, len(labels), l2=recipe.l2, seed=recipe.seed)
    fitted = fit(model, examples["train"], examples["validation"], recipe)
    _say(f"kept: epoch {fitted.best_epoch} of {recipe.epochs}, the best on validation")
    judged = {part: evaluate(model, examples[part], labels) for part in ("validation", "test")}

    run = Run(runs / new_id(name))
    about = {"name": name, **_source(data, data_dir), "preset": chosen.name, "model": chosen.model}
    shares = {f"{part}_share": share for part, share in split.cut_shares(pictures).items()}
    config = {**about, "backend": versions["backend"], **recipe.to_toml(), **shares}
    story = Story(run.id, config, pictures, divided, model, fitted, judged["validation"], judged["test"])
    _write(run, story, _environment(versions, started, fitted.seconds))
    return run


def held_out(pictures: Data, divided: split.Split) -> Pictures:
    """Encoded pictures of the test part; where that has fewer than HELD_OUT, of validation and train too."""
    positions = divided["test"]
    for part in ("validation", "train"):
        if len(positions) < HELD_OUT:
            positions = np.concatenate([positions, divided[part]])
    sizes = np.array([len(pictures.encode(position)) for position in positions])
    kept = positions[representative(pictures.classes[positions], sizes)]
    encoded = [pictures.encode(position) for position in kept]
    return Pictures(encoded, [pictures.files[position] for position in kept], pictures.classes[kept])


def _announce(pictures: Data, divided: split.Split, preset: str) -> None:
    """Say what is about to be done, and what is left out."""
    recipe = pictures.recipe
    parts = ", ".join(f"{len(rows):,} {part}" for part, rows in divided.items())
    size = write_shape(recipe.input)
    _say(f"{len(pictures.files):,} pictures of {len(pictures.labels)} classes: {parts}; as {size}")
    _say(f"preset {preset}: epochs {recipe.epochs}, batches of {recipe.batch_size}, {recipe.optimizer}")
    for left_out in pictures.skipped[:SHOWN]:
        _say(f"left out: {left_out['file']}: {left_out['reason']}")
    if len(pictures.skipped) > SHOWN:
        _say(f"left out: {len(pictures.skipped) - SHOWN} more, all listed in split.json")


def _say(sentence: str) -> None:
    tqdm.write(sentence, file=sys.stderr)


def _at_input(wanted: Recipe, preset: presets.Preset, native: Shape | None) -> Recipe:
    """As `config.at_input`; a person is told when pictures are enlarged unasked."""
    decided = at_input(wanted, preset, native)
    if native and not wanted.input and decided.input != native:
        came, goes = write_shape(native), write_shape(decided.input)
        least = f"{preset.smallest}x{preset.smallest}"
        sentence = f"pictures of {came} are enlarged to {goes}: the preset {preset.name} needs at least {least}"
        _say(sentence)
    return decided


def _write(run: Run, story: "Story", environment: dict[str, Any]) -> None:
    """Everything that a run leaves behind; metrics.json last, since it says that the run is whole."""
    from training.report import render

    run.path.mkdir(parents=True)
    story.model.save(run.model_file)
    held_out(story.data, story.split).save(run.pictures_file)
    files.write_atomic(run.path / "config.toml", tomli_w.dumps(story.config))
    files.write_json(run.path / "labels.json", story.data.labels)
    files.write_atomic(run.path / "split.json", split.write(story.data, story.split))
    files.write_atomic(run.path / "history.csv", _table(story.fit.history))
    files.write_atomic(run.report_file, render(story))
    files.write_json(run.path / "environment.json", environment)
    files.fsync(run.model_file)
    metrics = {"validation": story.validation.metrics, "test": story.test.metrics}
    files.write_json(run.path / "metrics.json", metrics)


def _source(data: str, data_dir: Path | None) -> dict[str, str]:
    local = {"data_dir": str(data_dir.resolve())} if data_dir else {}
    return {"data": data if data in NAMED else str(Path(data).resolve()), **local}


def _environment(versions: dict[str, str], started: float, training_seconds: float) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        **versions,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "wall_seconds": round(time.perf_counter() - started, 3),
        "training_seconds": round(training_seconds, 3),
    }


def _table(history: list[dict[str, float]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, history[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in history)
    return out.getvalue()
