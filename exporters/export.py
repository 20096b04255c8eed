"""The story of an export: a run's Keras model -> files -> proof -> a published version."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from artifacts.bundle import Bundle
from artifacts.errors import BadRun, WrongUse
from artifacts.pictures import Pictures
from artifacts.run import Run
from artifacts.store import Store
from exporters import triton
from exporters.manifest import describe
from exporters.parity import Parity, prove
from exporters.profile import Profile, measure
from exporters.to_onnx import OPSET, open_onnx, write_onnx
from exporters.to_saved_model import open_saved_model, prediction_function, write_saved_model, write_warmup

PRECISIONS = ("fp32",)
ONNX_FILE = "model.onnx"
WARMUP_PICTURES = 4

Say = Callable[[str], None]


def export(  # noqa: PLR0913 - what the command line gives
    run: Run,
    store: Store,
    name: str,
    precisions: tuple[str, ...] = PRECISIONS,
    say: Say = print,
    *,
    allow_code: bool = False,
) -> Bundle:
    """Export `run` as the next version of the model `name`; `allow_code`: also when its model brings code to run.

    Raises:
        ParityFailed: an export answers differently from the Keras model; nothing is published.
        BadRun: the run's model cannot be read.
        WrongUse: a precision that is not made here.
    """
    if strange := [precision for precision in precisions if precision not in PRECISIONS]:
        raise WrongUse(f"the precision must be one of {', '.join(PRECISIONS)}; received {', '.join(strange)}")
    pictures = Pictures.load(run.pictures_file)
    model = _load(run, allow_code=allow_code)
    shape = tuple(model.input_shape[1:])
    pixels = pictures.decode(*shape)
    expected = model.predict(pixels, verbose=0)
    with store.staging(name) as folder:
        say("writing SavedModel")
        write_saved_model(model, shape, folder)
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
        manifest = _manifest(run, model, shape, parity, profile)
        beside = {"config.pbtxt": triton.config(name, shape, len(run.labels()), profile.best_batch)}
        return store.publish(name, folder, manifest, beside)


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
    if model.output_shape[-1] != len(run.labels()):
        outputs = model.output_shape[-1]
        raise BadRun(f"{run.path} has {len(run.labels())} labels and a model of {outputs} outputs; they must agree")
    return model


def _copy_report(run: Run, folder: Path) -> None:
    (folder / "report").mkdir()
    shutil.copyfile(run.report_file, folder / "report" / "training.html")


def _manifest(run: Run, model: Any, shape: tuple[int, int, int], parity: Parity, profile: Profile) -> dict[str, Any]:
    """All but what the store adds, with where the model came from."""
    config = run.config()
    described = describe(
        labels=run.labels(),
        shape=shape,
        file=ONNX_FILE,
        metrics=run.metrics(),
        parity=parity,
        profile=profile,
        parameters=model.count_params(),
    )
    origin = {"run": {"id": run.id, "data_digest": run.data_digest(), "seed": config["seed"]}, "opset": OPSET}
    elsewhere = {key: config[key] for key in ("imported", "judged_on") if key in config}
    return {**described, **origin, **elsewhere}
