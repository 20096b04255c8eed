"""Keras's own files, `.keras` and the older HDF5: looked into before anything is loaded, read back when written."""

import json
import logging
import re
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from artifacts import files
from artifacts.errors import BadModel, WrongUse
from artifacts.foreign import Kind, short

if TYPE_CHECKING:
    import keras

SUFFIXES = {".keras": Kind.KERAS, ".h5": Kind.HDF5, ".hdf5": Kind.HDF5}
# What Keras builds from code, or from further files, that the model's file brings or names.
CODE = {
    "Lambda": "a Lambda",
    "__lambda__": "a Python function",
    "TFSMLayer": "a SavedModel",
    "TorchModuleWrapper": "a PyTorch module",
    "JaxLayer": "a JAX function",
    "FlaxLayer": "a Flax module",
}
CONFIG_MB = 64  # the architecture of the largest Keras application takes less than one
_UNKNOWN = re.compile(r"Could not locate \w+ '([^']+)'|Unknown \w+: '?([\w>.]+)")


def kind_to_write(path: Path) -> Kind:
    """The format that a file's name asks for.

    Raises:
        WrongUse: none that is written here.
    """
    if path.suffix not in SUFFIXES:
        raise WrongUse(f"the file must end in .keras, or in .h5 for the older HDF5; received {path.name!r}")
    return SUFFIXES[path.suffix]


def code_in(path: Path, kind: Kind) -> list[str]:
    """What in a model's file brings code of its own, such as "Lambda 'scale'", nested models included.

    Raises:
        BadModel: the file is damaged, or holds no architecture.
    """
    found = []
    waiting = [_architecture(path, kind)]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            name = str(item.get("class_name")).replace(">", ".").rpartition(".")[2]
            if name in CODE:
                inner = item.get("config")
                named = isinstance(inner, dict) and "name" in inner
                found.append(f"{name} {inner['name']!r}" if named else CODE[name])
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return sorted(set(found))


def read(path: Path, kind: Kind, *, allow_code: bool = False) -> "keras.Model":
    """The model, not compiled.

    Raises:
        BadModel: it is damaged, brings code that was not allowed, or uses what is no part of Keras.
    """
    if not allow_code and (code := code_in(path, kind)):
        raise BadModel(
            f"{path} holds code of its own, which loading it would run: {', '.join(code)}; "
            "if you trust whoever made it, add --allow-code"
        )
    import keras

    # Keras goes by the name's ending, and the older tf.keras wrote HDF5 under any name.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), advice_hidden():
        warnings.simplefilter("ignore")
        link = Path(folder, "model.keras" if kind is Kind.KERAS else "model.h5")
        link.symlink_to(path.resolve())
        try:
            known = _operations() if kind is Kind.HDF5 else None
            return keras.saving.load_model(link, custom_objects=known, compile=False, safe_mode=not allow_code)
        except Exception as error:  # Keras raises whatever the file leads it to
            # Each layer around the one that failed adds its whole configuration, and ends in what the inner one said.
            raise BadModel(_reason(path, str(error).rpartition("Exception encountered: ")[2])) from error


def write_proven(
    model: "keras.Model", path: Path, pixels: NDArray[np.uint8], *, allow_code: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Write the model to `path`, once what was read back answers as the model does, bit for bit.

    Args:
        model: uint8 (N, height, width, channels) -> float32 (N, classes).
        path: ends in .keras, .h5 or .hdf5; replaced when it is there.
        pixels: pictures to compare the answers on, uint8 (N, height, width, channels).
        allow_code: whether code that the model brings may run when it is read back.

    Returns:
        The probabilities before and after, float32 (N, classes), which are equal.

    Raises:
        WrongUse: the name ends otherwise.
        BadModel: the format cannot hold the model.
    """
    import keras

    kind = kind_to_write(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
        made = Path(folder, "model" + path.suffix)
        try:
            with advice_hidden():
                model.save(made)
                again = read(made, kind, allow_code=allow_code)
        except OSError:
            raise
        except Exception as error:  # as above
            why = _UNKNOWN.sub(r"'\1\2' cannot be read back from it", short(error.__cause__ or error))
            raise BadModel(f"the model cannot be kept as {kind}: {why}; nothing was written") from error
        with keras.device("cpu"), advice_hidden():  # a GPU may sum in another order each time
            before, after = (each.predict(pixels, verbose=0) for each in (model, again))
        if not np.array_equal(before, after):
            worst = float(np.abs(before - after).max())
            raise BadModel(f"read back from {kind} the model answers otherwise, by {worst:.1e}; nothing was written")
        files.fsync(made)
        made.replace(path)
    files.fsync(path.parent)
    return before, after


@contextmanager
def advice_hidden() -> Iterator[None]:
    """Hide what Keras and TensorFlow advise programmers: that HDF5 is an older format, that tracing is expensive."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _architecture(path: Path, kind: Kind) -> Any:
    """The configuration that Keras builds the model from, without that of the training."""
    text = _zipped(path) if kind is Kind.KERAS else _attribute(path)
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path} is damaged: its architecture cannot be read ({error})") from error
    if isinstance(config, dict):
        config.pop("compile_config", None)
    return config


def _zipped(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > CONFIG_MB * 1_000_000:
                raise BadModel(f"{path} is no Keras model: its architecture takes more than {CONFIG_MB} MB")
            return archive.read("config.json")
    except KeyError:
        raise BadModel(f"{path} is a zip file and no Keras model: it has no config.json") from None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise BadModel(f"{path} is damaged ({error}); copy it again") from error


def _attribute(path: Path) -> str | bytes:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError as error:
        raise BadModel(f"{path} is damaged ({error}); copy it again") from error
    if text is None:
        raise BadModel(f"{path} holds weights without their architecture; write it with model.save, not save_weights")
    return text


def _operations() -> dict[str, type]:
    """Keras's operations by name: it writes `x / 255` to HDF5 and does not find its own division when it reads it."""
    import keras

    found, waiting = {}, [keras.Operation]
    while waiting:
        waiting.extend(subclasses := waiting.pop().__subclasses__())
        found.update((each.__name__, each) for each in subclasses if not issubclass(each, keras.Layer))
    return {name: _either(operation, getattr(keras.layers, name, None)) for name, operation in found.items()}


def _either(operation: type, layer: type | None) -> type:
    """`operation`, or the layer of the same name where the file's configuration is that of a layer."""
    if layer is None:
        return operation

    def from_config(_: type, config: dict[str, Any]) -> Any:
        return (layer if "trainable" in config else operation).from_config(config)

    return type(operation.__name__, (), {"from_config": classmethod(from_config)})


def _reason(path: Path, said: str) -> str:
    if match := _UNKNOWN.search(said):
        name = match[1] or match[2]
        return (
            f"{path} uses {name!r}, which is no part of Keras; "
            "export it to SavedModel or ONNX where its code is, and import that"
        )
    return f"{path} cannot be loaded ({short(said)})"
