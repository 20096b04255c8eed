"""The story of an export: a run's Keras model -> files -> proof -> a published version."""

import errno
import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from artifacts.bundle import Bundle
from artifacts.errors import BadRun, WrongUse
from artifacts.pictures import Pictures
from artifacts.pixels import PREPROCESSING
from artifacts.run import Run
from artifacts.store import Store
from exporters import triton
from exporters.parity import Parity, prove
from exporters.profile import Profile, measure
from exporters.to_onnx import OPSET, open_onnx, write_onnx
from exporters.to_saved_model import open_saved_model, prediction_function, write_saved_model, write_warmup

PRECISIONS = ("fp32",)
ONNX_FILE = "model.onnx"
WARMUP_PICTURES = 4
LIBRARIES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy", "pillow")

Say = Callable[[str], None]


def export(run: Run, store: Store, name: str, precisions: tuple[str, ...] = PRECISIONS, say: Say = print) -> Bundle:
    """Export `run` as the next version of the model `name`.

    Raises:
        ParityFailed: an export answers differently from the Keras model; nothing is published.
        BadRun: the run's model cannot be read.
        WrongUse: a precision that is not made here.
    """
    if strange := [precision for precision in precisions if precision not in PRECISIONS]:
        raise WrongUse(f"the precision must be one of {', '.join(PRECISIONS)}; received {', '.join(strange)}")
    pictures = Pictures.load(run.pictures_file)
    model = _load(run)
    shape = tuple(model.input_shape[1:])
    pixels = pictures.decode(*shape)
    expected = model.predict(pixels, verbose=0)
    with store.staging(name) as folder:
        say("writing SavedModel")
        _write_saved_model(model, shape, folder)
        write_warmup(name, pixels[:WARMUP_PICTURES], folder)
        say("writing ONNX")
        write_onnx(prediction_function(model, shape), folder / ONNX_FILE)
        say(f"proving that both answer as the Keras model on {len(pixels)} pictures")
        exports = {"SavedModel": open_saved_model(folder), "ONNX": open_onnx(folder / ONNX_FILE)}
        parity = prove(pixels, expected, exports)
        say(f"parity: the largest difference is {parity.max_difference:.1e} (at most {parity.tolerance:.0e})")
        replace(pictures, probabilities=expected).save(folder / "golden.npz")
        _copy_report(run, folder)
        profile = measure(folder / ONNX_FILE, shape)
        manifest = _describe(run, model, shape, parity, profile)
        beside = {"config.pbtxt": triton.config(name, shape, len(run.labels()), profile.best_batch)}
        return store.publish(name, folder, manifest, beside)


def _load(run: Run) -> Any:
    """The Keras model of a run that this project trained."""
    try:
        model = keras.saving.load_model(run.model_file, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the damaged file leads it to
        raise BadRun(f"{run.model_file} cannot be loaded ({error}); train the run again") from error
    if model.output_shape[-1] != len(run.labels()):
        outputs = model.output_shape[-1]
        raise BadRun(f"{run.path} has {len(run.labels())} labels and a model of {outputs} outputs; they must agree")
    return model


def _write_saved_model(model: Any, shape: tuple[int, int, int], folder: Path) -> None:
    try:
        write_saved_model(model, shape, folder)
    except tf.errors.ResourceExhaustedError as error:  # what TensorFlow makes of a full disk
        raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from error


def _copy_report(run: Run, folder: Path) -> None:
    (folder / "report").mkdir()
    shutil.copyfile(run.report_file, folder / "report" / "training.html")


def _describe(
    run: Run,
    model: Any,
    shape: tuple[int, int, int],
    parity: Parity,
    profile: Profile,
) -> dict[str, Any]:
    """The manifest, but for what the store adds: name, version, files, sha256."""
    metrics, config = run.metrics(), run.config()
    height, width, channels = shape
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": run.labels(),
        "input": {"height": height, "width": width, "channels": channels},
        "preprocessing": PREPROCESSING,
        "variants": {
            "fp32": {
                "file": ONNX_FILE,
                "parity": parity.to_json(),
                "accuracy": metrics["test"]["accuracy"],
                "images_per_second": profile.images_per_second,
                "best_batch": profile.best_batch,
            },
        },
        "metrics": {split: {key: metrics[split][key] for key in ("accuracy", "loss")} for split in metrics},
        "run": {"id": run.id, "data_digest": run.data_digest(), "seed": config["seed"]},
        "libraries": {library: importlib.metadata.version(library) for library in LIBRARIES},
        "opset": OPSET,
        "parameters": model.count_params(),
    }
