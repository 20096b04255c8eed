"""What every source of pictures hands on: one record."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import Recipe, Shape

PARTS = ("train", "validation", "test")
AtInput = Callable[[Shape | None], Recipe]  # the data set's own shape, None where pictures differ -> input decided


@dataclass(frozen=True)
class Data:
    """N labelled pictures at the model's input size, in the data set's own order."""

    recipe: Recipe  # with its input decided
    labels: list[str]
    pixels: NDArray[np.uint8]  # (N, height, width, channels); a numpy.memmap where they do not fit in memory
    classes: NDArray[np.int64]  # (N,), positions in `labels`
    files: list[str]  # relative to the folder, or `digits#17`
    sha256: list[str]  # of the encoded file, or of the data set's own uint8 pixels
    parts: NDArray[np.str_]  # (N,), the part that the data set itself gives; "train" where it gives none
    shares: dict[str, float]  # of the parts that have to be cut from train, unless the recipe says otherwise
    skipped: list[dict[str, str]]  # {"file", "reason"}
    encode: Callable[[int], bytes]  # position -> the picture as a JPEG, PNG or WebP file, at its own size
    formats: dict[str, int] = field(default_factory=dict)  # what the pictures came as -> how many: {"JPEG": 4000}
    leaks: list[dict[str, Any]] = field(default_factory=list)  # {"sha256", "files", "labels"}: in more than one part
    contradictions: list[dict[str, Any]] = field(default_factory=list)  # the same, under more than one label
    remarks: list[str] = field(default_factory=list)  # sentences: what a person should know about the pictures
