"""Data sets: what `DATA` on the command line means, and the pictures that come of it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import BadData, WrongUse
from training.config import Recipe, Shape

NAMED = ("digits", "mnist")
PARTS = ("train", "validation", "test")
AtInput = Callable[[Shape | None], Recipe]  # the data set's own shape, None where pictures differ -> input decided


@dataclass(frozen=True)
class Data:
    """N labelled pictures at the model's input size, in the data set's own order."""

    recipe: Recipe  # with its input decided
    labels: list[str]
    pixels: NDArray[np.uint8]  # (N, height, width, channels)
    classes: NDArray[np.int64]  # (N,), positions in `labels`
    files: list[str]  # relative to the folder, or `digits#17`
    sha256: list[str]  # of the encoded file, or of the data set's own uint8 pixels
    parts: NDArray[np.str_]  # (N,), the part that the data set itself gives; "train" where it gives none
    shares: dict[str, float]  # of the parts that have to be cut from train, unless the recipe says otherwise
    skipped: list[dict[str, str]]  # {"file", "reason"}
    encode: Callable[[int], bytes]  # position -> the picture as a JPEG, PNG or WebP file, at its own size


def load(name: str, at_input: AtInput, data_dir: Path | None) -> Data:
    """Read `digits`, `mnist` or a folder of pictures.

    Raises:
        BadData: it is missing, damaged, or cannot be trained on.
        WrongUse: `data_dir` with data that has no local copies.
    """
    from training import arrays, folder

    if name == "mnist":
        return arrays.mnist(at_input, data_dir)
    if data_dir is not None:
        raise WrongUse(f"--data-dir holds local copies of mnist; {name!r} has none, leave it out")
    if name == "digits":
        return arrays.digits(at_input)
    if not Path(name).is_dir():
        raise BadData(f"there is no folder {name!r}; DATA is digits, mnist, or a folder such as pets/cat/*.jpg")
    return folder.read(Path(name), at_input)


def model_name(data: str) -> str:
    """A name for the model of this data: `Cats & Dogs/` -> `cats-dogs`."""
    base = data if data in NAMED else Path(data).resolve().name
    plain = re.sub(r"[^a-z0-9._-]+", "-", base.lower()).strip("-._")
    return plain[:63] or "model"
