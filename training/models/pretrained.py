"""Weights that a backbone begins with: Keras's own of ImageNet, or a file."""

import contextlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
from keras import KerasTensor

from artifacts.errors import BadData, WrongUse

FILE = "{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"  # as Keras calls them
LONGEST = 200  # characters of what Keras says


def backbone(build: Callable[..., keras.Model], pixels: KerasTensor, weights: str) -> keras.Model:
    """A Keras application without its top.

    Args:
        build: one of `keras.applications`.
        pixels: preprocessed, (N, H, W, 3); what comes before them is part of the model that is returned.
        weights: `imagenet` (downloaded, and kept by Keras); `none`; or the path of a file: Keras's weights of this
            backbone (.h5 or .weights.h5), or a whole model that contains it (.keras), such as that of an earlier run.

    Raises:
        WrongUse: there is no such file, or ImageNet's weights cannot be downloaded.
        BadData: the file does not hold this network's weights.
    """
    if weights == "imagenet":
        return _download(build, pixels)
    fresh = build(include_top=False, input_tensor=pixels, weights=None)
    if weights != "none":
        _load(fresh, name(build), Path(weights))
    return fresh


def name(build: Callable[..., keras.Model]) -> str:
    """As in the names of Keras's files."""
    return build.__name__.lower()


def _download(build: Callable[..., keras.Model], pixels: KerasTensor) -> keras.Model:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras shows its progress there, and a command its result
            return build(include_top=False, input_tensor=pixels, weights="imagenet")
    except Exception as error:  # noqa: BLE001 - Keras raises just that
        file = FILE.format(name=name(build))
        raise WrongUse(
            f"ImageNet's weights of {name(build)} could not be downloaded; fetch {file} where there is a network and "
            f"give it with --set weights={file}, or train from nothing with --set weights=none ({_short(error)})"
        ) from None


def _load(fresh: keras.Model, known: str, path: Path) -> None:
    if not path.is_file():
        raise WrongUse(f"there is no file of weights {path}; weights must be imagenet, none, or a file")
    try:
        (_take if path.suffix == ".keras" else _read)(fresh, path)
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        right = f"{FILE.format(name=known)}, or the model.keras of a run that trained {known}"
        raise BadData(
            f"{path} does not hold the weights of {known}; right would be {right} ({_short(error)})"
        ) from None


def _read(fresh: keras.Model, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # how Keras says that some layers stay as they were
        fresh.load_weights(path)


def _take(fresh: keras.Model, path: Path) -> None:
    """Copy from the saved model's layers of the same names and shapes."""
    saved = {layer.name: layer.get_weights() for layer in keras.saving.load_model(path, compile=False).layers}
    for layer in fresh.layers:
        mine, theirs = layer.get_weights(), saved.get(layer.name, [])
        if [weight.shape for weight in mine] != [weight.shape for weight in theirs]:
            raise ValueError(f"its layer {layer.name} is missing or has other shapes")
        layer.set_weights(theirs)


def _short(error: Exception) -> str:
    """The first line of what Keras says, which can run over pages."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:LONGEST]
