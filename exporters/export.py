"""The story of an export: a run's Keras model -> files -> proof -> a published version."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.bundle import Bundle
from artifacts.errors import BadRun
from artifacts.held_out import HeldOut
from artifacts.pictures import Pictures
from artifacts.run import Run
from artifacts.store import Store
from exporters.completion import Draft, Written, complete
from exporters.frameworks import keras
from exporters.graph import OPSET
from exporters.parity import KERAS, Reference
from exporters.to_onnx import open_onnx, write_onnx
from exporters.to_saved_model import open_saved_model, prediction_function, write_saved_model, write_warmup
from exporters.variants import BASE, EVERYTHING, FILES, Order, Say

AS_TRAINED = 0.02  # of a probability: training may have run on another backend, machine or GPU, which round otherwise


def export(  # noqa: PLR0913 - what the command line gives
    run: Run,
    store: Store,
    name: str,
    order: Order = EVERYTHING,
    say: Say = print,
    *,
    allow_code: bool = False,
) -> Bundle:
    """Export `run` as the next version of the model `name`; `allow_code`: also when its model brings code to run.

    Raises:
        ParityFailed: an export answers differently from the Keras model; nothing is published.
        BadRun: the run's model cannot be read.
    """
    pictures = Pictures.load(run.pictures_file)
    model = _load(run, allow_code=allow_code)
    shape = tuple(model.input_shape[1:])
    say("asking the Keras model about held-out pictures")
    answered = replace(pictures, probabilities=Reference.of(model.predict_on_batch, pictures, shape, KERAS).expected)
    _check_as_trained(run, pictures, answered)
    with store.staging(name) as folder:
        draft = Draft(
            name=name,
            folder=folder,
            shape=shape,
            labels=run.labels(),
            parameters=model.count_params(),
            golden=answered,
            reference=Reference.of(model.predict_on_batch, _test_pictures(run, pictures), shape, KERAS),
            training=_training_pixels(run, shape),
            order=order,
            held_out=_held_out(run),
        )
        say("writing SavedModel")
        write_saved_model(model, shape, folder)
        write_warmup(name, draft.reference.pixels, folder)
        say("writing ONNX")
        looked = write_onnx(prediction_function(model, shape), folder / FILES[BASE])
        _copy_report(run, folder)
        exports = {"SavedModel": open_saved_model(folder), "ONNX": open_onnx(folder / FILES[BASE])}
        return complete(draft, Written(exports, looked), metrics=run.metrics(), about=_about(run), store=store, say=say)


def _load(run: Run, *, allow_code: bool) -> Any:
    """The Keras model of a run that this project trained or imported."""
    code = run.config().get("imported", {}).get("code")
    if code and not allow_code:
        raise BadRun(
            f"{run.id} was imported with code of its own, which the export would run: {', '.join(code)}; "
            "if you trust whoever made it, add --allow-code"
        )
    try:
        model = keras.saving.load_model(run.model_file, compile=False, safe_mode=not allow_code)
    except Exception as error:  # Keras raises whatever the damaged file leads it to
        raise BadRun(f"{run.model_file} cannot be loaded ({error}); train the run again") from error
    labels, judged = run.labels(), list(run.metrics()["test"].get("per_class", []))
    if model.output_shape[-1] != len(labels):
        outputs = model.output_shape[-1]
        raise BadRun(f"{run.path} has {len(labels)} labels and a model of {outputs} outputs; they must agree")
    if judged and judged != labels:
        raise BadRun(
            f"{run.path / 'labels.json'} has not the labels in the order in which metrics.json has them: restore it "
            f"(it begins with {', '.join(labels[:3])}; metrics.json with {', '.join(judged[:3])})"
        )
    return model


def _check_as_trained(run: Run, kept: Pictures, answered: Pictures) -> None:
    """The training's own answers to its own pixels are kept; what is decoded here from the files must get the same."""
    if kept.probabilities is None or answered.probabilities is None:
        return  # a run of an older version, or an imported one
    difference = float(np.abs(kept.probabilities - answered.probabilities).max())
    if not difference <= AS_TRAINED:  # `not <=` also refuses NaN
        raise BadRun(
            f"{run.id} answers its held-out pictures otherwise than when it was trained, by {difference:.2f}: they are "
            "decoded otherwise now, or the model is another; train the run again"
        )


def _test_pictures(run: Run, held_out: Pictures) -> Pictures:
    """Those of the test part; runs of an older version, and imports without labels, have only the held-out ones."""
    return Pictures.load(run.test_pictures_file) if run.test_pictures_file.exists() else held_out


def _held_out(run: Run) -> HeldOut | None:
    """Those by which the version is compared with others; runs of an older version kept none."""
    if not run.test_pictures_file.exists():
        return None
    return HeldOut.of(Pictures.load(run.test_pictures_file), run.division())


def _training_pixels(run: Run, shape: tuple[int, int, int]) -> Any:
    if not run.training_pictures_file.exists():
        return None
    return Pictures.load(run.training_pictures_file).decode(*shape)


def _copy_report(run: Run, folder: Path) -> None:
    (folder / "report").mkdir()
    shutil.copyfile(run.report_file, folder / "report" / "training.html")


def _about(run: Run) -> dict[str, Any]:
    """Where the model came from."""
    config = run.config()
    origin = {"run": {"id": run.id, "data_digest": run.data_digest(), "seed": config["seed"]}, "opset": OPSET}
    return {**origin, **{key: config[key] for key in ("imported", "judged_on") if key in config}}
