"""Data sets that come as arrays, all pictures of one size: scikit-learn's digits, idx files, CIFAR-10, drawings."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts import files, pixels
from training.config import Shape
from training.data import cache, decoding
from training.data.dataset import AtInput, Data
from training.data.labels import choose

DIGITS_SHARES = {"validation": 0.2, "test": 0.2}


@dataclass(frozen=True)
class Scans:
    """A data set at its own size."""

    name: str
    labels: list[str]
    pixels: NDArray[np.uint8]  # (N, height, width, channels)
    classes: NDArray[np.int64]  # (N,), positions in `labels`
    files: list[str]  # `digits#17`
    parts: NDArray[np.str_]  # (N,), as in `Data`
    shares: dict[str, float]
    format: str  # what they came as
    remarks: list[str] = field(default_factory=list)


def data(scans: Scans, at_input: AtInput, kept: Path) -> Data:
    """The chosen classes at the model's input size; decoded pictures that do not fit in memory lie in `kept`.

    Raises:
        WrongUse: the recipe names labels that there are not.
    """
    recipe = at_input(scans.pixels.shape[1:])
    scans = _chosen(scans, choose(scans.labels, recipe.labels, scans.name))
    sha256 = [files.sha256(scan.tobytes()) for scan in scans.pixels]
    at_size = scans.pixels
    if recipe.input != scans.pixels.shape[1:]:
        place = cache.place(kept, scans.name, scans.labels, sha256)
        one = partial(_one, scans.pixels, sha256, recipe.input)
        at_size = decoding.decoded(one, len(sha256), recipe.input, recipe.memory_mb, place).pixels
    return Data(
        recipe=recipe,
        labels=scans.labels,
        pixels=at_size,
        classes=scans.classes,
        files=scans.files,
        sha256=sha256,
        parts=scans.parts,
        shares=scans.shares,
        skipped=[],
        encode=partial(_encode, scans.pixels),
        formats={scans.format: len(sha256)},
        remarks=scans.remarks,
    )


def digits() -> Scans:
    """1,797 scans of 8×8 pixels from scikit-learn (E. Alpaydin, C. Kaynak, UCI, 1998); 0…16 becomes 0…255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return Scans(
        name="digits",
        labels=[str(digit) for digit in range(10)],
        pixels=np.rint(found.images[..., None] * (255 / 16)).astype(np.uint8),
        classes=found.target.astype(np.int64),
        files=[f"digits#{number}" for number in range(len(found.images))],
        parts=np.full(len(found.images), "train", dtype="U10"),
        shares=DIGITS_SHARES,
        format="scikit-learn",
    )


def _chosen(scans: Scans, labels: list[str]) -> Scans:
    """Only the pictures of `labels`, numbered in their order."""
    if labels == scans.labels:
        return scans
    numbers = np.full(len(scans.labels), -1, dtype=np.int64)
    for number, label in enumerate(labels):
        numbers[scans.labels.index(label)] = number
    rows = np.flatnonzero(numbers[scans.classes] >= 0)
    return replace(
        scans,
        labels=labels,
        pixels=scans.pixels[rows],
        classes=numbers[scans.classes[rows]],
        files=[scans.files[row] for row in rows],
        parts=scans.parts[rows],
    )


def _one(scans: NDArray[np.uint8], sha256: list[str], shape: Shape, position: int) -> decoding.Outcome:
    """The picture as `pixels.decode` would bring it to `shape`."""
    height, width, channels = shape
    scan = scans[position]
    if scan.shape[2] > channels:
        brought = pixels.decode(pixels.encode_png(scan), *shape).pixels
    else:
        stretched = scan if scan.shape[:2] == (height, width) else pixels.resize(scan, height, width)
        brought = np.broadcast_to(stretched, shape)
    return decoding.Outcome(brought, sha256[position])


def _encode(scans: NDArray[np.uint8], position: int) -> bytes:
    return pixels.encode_png(scans[position])
