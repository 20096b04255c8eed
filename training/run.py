"""The story of a training: pictures and a preset in, `runs/<id>/` out."""

import json
import os
import platform
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from artifacts import files
from artifacts.errors import BadRun, TintypeError
from artifacts.run import Run, new_id, unfinished
from training import backend, order
from training.config import Recipe
from training.data import encoded, split
from training.data.dataset import Data
from training.data.sources import model_name
from training.narration import announce, say
from training.order import Order

if TYPE_CHECKING:
    import keras

    from training.report.page import Story


def train(  # noqa: PLR0913 - what the command line gives
    data: str,
    preset: str | None = None,
    *,
    runs: Path,
    cache: Path,
    name: str | None = None,
    data_dir: Path | None = None,
    overrides: dict[str, str] | None = None,
    find_rate: bool = False,
    run_id: str | None = None,
    after: Run | None = None,
) -> Run:
    """Train a model.

    Args:
        data: one of `artifacts.data_sets.NAMED`, or a folder of pictures.
        preset: which model, and how; without it, the one for this data.
        runs: the folder in which the run's own is made.
        cache: the folder for decoded pictures that do not fit in memory, and for downloads.
        name: of the model; without it, the data's.
        data_dir: local copies of the data set's files.
        overrides: of the preset's recipe, as text: {"epochs": "3"}.
        find_rate: look for a learning rate first, and train with it.
        run_id: from `new_id`, where it has to be known before; without it, a new one.
        after: an earlier run, whose recipe (without a preset) and whose division are kept.

    Raises:
        WrongUse: a preset, key, value or name that does not exist or makes no sense.
        BadData: the pictures are missing, damaged, or cannot be trained on.
        BadRun: the earlier run cannot be gone by.
        TintypeError: the training diverged.
    """
    overrides = overrides or {}
    if after:
        asked = order.again(after, data, preset, name or model_name(data), data_dir, overrides)
    else:
        asked = order.fresh(data, preset, name, data_dir, overrides)
    pictures, divided = asked.read(cache)
    announce(pictures, divided, asked.preset.name)
    say("loading Keras")
    versions = backend.load()  # Keras takes seconds: whatever a person can have got wrong has been said by now
    recipe = replace(pictures.recipe, precision=backend.policy(pictures.recipe.precision))
    pictures = replace(pictures, recipe=recipe)
    model = build(asked.preset.model, recipe, len(pictures.labels))
    run = Run(runs / (run_id or new_id(asked.name)))
    run.path.mkdir(parents=True)
    try:
        if find_rate:
            pictures = _with_found_rate(asked, pictures, divided, run)
        _write_beginning(run, asked.config(pictures, versions["backend"]), pictures, divided)
        say(f"run {run.id}; should it be killed: tintype train --resume {run.id}")
        return _carry_out(run, asked, pictures, divided, versions, model)
    except TintypeError:  # it diverged: there is nothing to go on with
        shutil.rmtree(run.path)
        raise


def resume(reference: str, *, runs: Path, cache: Path) -> Run:
    """Go on with a training that was killed; on a CPU it ends with the weights of one that was not.

    Args:
        reference: path, id, beginning of an id, or `latest`, of a run that has not finished.
        runs: the folder in which it is.
        cache: as in `train`.

    Raises:
        BadRun: there is none, it is damaged, or its pictures have changed.
        Busy: it is being trained right now.
    """
    run = unfinished(runs, reference)
    asked = order.of_run(run)
    pictures, divided = asked.read(cache)
    if json.loads(split.write(pictures, divided))["digest"] != run.data_digest():
        raise BadRun(f"the pictures of {asked.data} are no longer those that {run.id} was begun with; train anew")
    announce(pictures, divided, asked.preset.name)
    say("loading Keras")
    versions = backend.load()
    recipe = pictures.recipe
    if run.checkpoint_file.exists():  # it holds all weights: a file of pretrained ones need not be there any more
        recipe = replace(recipe, weights="none")
    model = build(asked.preset.model, recipe, len(pictures.labels))
    return _carry_out(run, asked, pictures, divided, versions, model)


def build(name: str, recipe: Recipe, classes: int) -> "keras.Model":
    """The network `name` with fresh weights, computing in the recipe's precision."""
    import keras

    from training import models
    from training.models.regularization import Regularization

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        return models.build(
            name,
            recipe.input,
            classes,
            regularization=Regularization(recipe.l1, recipe.l2, recipe.dropout),
            weights=recipe.weights,
            seed=recipe.seed,
        )
    finally:
        keras.config.set_dtype_policy(before)


def _carry_out(  # noqa: PLR0913, PLR0917 - what a training needs
    run: Run, asked: Order, data: Data, divided: split.Split, versions: dict[str, str], model: "keras.Model"
) -> Run:
    from training.evaluate import evaluate
    from training.learning import finder
    from training.learning.feed import Examples
    from training.learning.fit import fit
    from training.learning.folds import cross_validate
    from training.report.page import Story

    started = time.perf_counter()
    recipe, network = data.recipe, asked.preset.model
    fresh = partial(build, network, recipe, len(data.labels))
    examples = {part: Examples(data.pixels, data.classes, rows) for part, rows in divided.items()}
    with files.locked(run.path, wait=False, busy=f"{run.id} is being trained by another process; wait for it"):
        known = np.union1d(divided["train"], divided["validation"])
        folds = cross_validate(fresh, data, known, run.path) if recipe.folds else []
        model = fresh() if folds else model
        told = fit(model, examples["train"], examples["validation"], recipe, run=run)
        say(f"kept: epoch {told.best_epoch} of {recipe.epochs}, the best on validation")
        if recipe.precision != "float32":
            model = _in_float32(network, recipe, model)
        judged = {part: evaluate(model, examples[part], data.labels) for part in ("validation", "test")}
        story = Story(
            run_id=run.id, config=run.config(), data=data, split=divided, model=model, fit=told,
            validation=judged["validation"], test=judged["test"], folds=folds, finder=finder.read(run.path),
            environment=_environment(versions, started, told.seconds),
        )  # fmt: skip
        say("writing the report")
        _write_end(run, story)
        run.checkpoint_file.unlink(missing_ok=True)
    return run


def _in_float32(network: str, recipe: Recipe, trained: "keras.Model") -> "keras.Model":
    """The same network in full precision: what is saved and judged is what will be exported."""
    model = build(network, replace(recipe, precision="float32", weights="none"), trained.output_shape[-1])
    model.set_weights(trained.get_weights())
    return model


def _with_found_rate(asked: Order, data: Data, divided: split.Split, run: Run) -> Data:
    from training.learning import finder
    from training.learning.feed import Examples

    examples = Examples(data.pixels, data.classes, divided["train"])
    found = finder.find(build(asked.preset.model, data.recipe, len(data.labels)), examples, data.recipe)
    finder.write(run.path, found)
    say(f"learning rate {found.suggestion:g}: a tenth of the one at which the loss was lowest")
    return replace(data, recipe=replace(data.recipe, learning_rate=found.suggestion))


def _write_beginning(run: Run, config: dict[str, Any], data: Data, divided: split.Split) -> None:
    """What a resume needs; config.toml last, since it says that there is something to resume."""
    files.write_json(run.path / "labels.json", data.labels)
    files.write_atomic(run.path / "split.json", split.write(data, divided))
    files.write_atomic(run.path / "config.toml", tomli_w.dumps(config))


def _write_end(run: Run, story: "Story") -> None:
    """Everything that a run leaves behind; metrics.json last, since it says that the run is whole."""
    from training.report.page import render

    story.model.save(run.model_file)
    encoded.keep(run, story.data, story.split, story.model.predict_on_batch)
    files.write_atomic(run.report_file, render(story))
    files.write_json(run.path / "environment.json", story.environment)
    files.fsync(run.model_file)
    folds = {"cross_validation": {"accuracy": story.folds}} if story.folds else {}
    metrics = {"validation": story.validation.metrics, "test": story.test.metrics, **folds}
    files.write_json(run.path / "metrics.json", metrics)


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
