"""Decoded pictures on the disk: made once, found again as long as neither the files nor the decoder change.

    <cache>/pictures/<source>/          one folder of pictures, or one data set; locked while it is looked at or written
        <shape>-<choice>-<state>/       one size, one choice of classes, one state of the files
            pixels.npy                  uint8 (readable, height, width, channels)
            outcome.json                {"sha256": of every file, "" where unreadable, "reasons": {position: why},
                                         "passing": whether a file could not even be opened, which may pass}
        .part/                          the same, being written; renamed when it is whole

The pictures are written with plain writes: a full disk then is an error, where a memory map would kill the process.
"""

import hashlib
import itertools
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from artifacts import files
from artifacts.errors import Busy, TintypeError
from artifacts.pixels import PREPROCESSING
from training.config import Shape, write_shape

if TYPE_CHECKING:
    from training.data.decoding import Outcome

PIXELS, OUTCOME, PART = "pixels.npy", "outcome.json", ".part"
DIGITS = 16  # of a sha256 in a name
MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000
FLUSH_BYTES = 256 * MEGABYTE  # so that the bar does not stand at the end while the disk writes

Kept = tuple[NDArray[np.uint8], list[str], list[str]]  # as `decoding.Decoded`


class Place(NamedTuple):
    """Where the pictures of one source are kept."""

    folder: Path  # of the source
    choice: str  # of classes
    state: str  # another one as soon as a file or the decoder changes


def place(root: Path, source: str, labels: Iterable[str], stamps: Iterable[object]) -> Place:
    """The place, below the folder `root`, of `source` (a path or a name) with these classes.

    `stamps` are JSON values, one a picture, that change when the picture does.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).name).strip("-.")[:63]
    choice = _digest(sorted(labels))
    state = _digest(itertools.chain([PREPROCESSING], stamps))
    return Place(root / "pictures" / f"{plain}-{_digest([source])}", choice, state)


def kept(place: Place, shape: Shape, count: int, pictures: Iterable["Outcome"]) -> Kept:
    """What is kept there of the `count` `pictures`; they are only asked for, and written, where there is nothing yet.

    Raises:
        TintypeError: the disk is full.
    """
    target = place.folder / f"{write_shape(shape)}-{place.choice}-{place.state}"
    try:
        with _alone(place.folder):
            _clear(place)
            found = _read(target, shape, count)
            if found is None:
                shutil.rmtree(target, ignore_errors=True)
                _write(target, shape, count, pictures)
                found = _read(target, shape, count, just_written=True)
    except OSError as error:
        raise TintypeError(_no_room(place.folder, shape, count, error.strerror or str(error))) from error
    if found is None:
        raise TintypeError(f"{target} was written and cannot be read; look at the disk")
    return found


def size(count: float) -> str:
    """Bytes as a person reads them: `1.5 GB`, `20.0 MB`."""
    return f"{count / GIGABYTE:,.1f} GB" if count >= GIGABYTE else f"{count / MEGABYTE:.1f} MB"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process looks at, writes or clears away what is kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with files.locked(folder, wait=False):
            pass
    except Busy:
        tqdm.write(f"another training is reading the same pictures into {folder}: waiting for it", file=sys.stderr)
    with files.locked(folder):
        yield


def _clear(place: Place) -> None:
    """Away with what a kill has left half written, and with what was made of an older state of the files."""
    for path in place.folder.iterdir():
        if path.name == PART or (f"-{place.choice}-" in path.name and not path.name.endswith(f"-{place.state}")):
            shutil.rmtree(path)


def _read(target: Path, shape: Shape, count: int, *, just_written: bool = False) -> Kept | None:
    """What is kept in `target`; None where there is nothing, something damaged, or files that may be readable now."""
    try:
        pixels = np.lib.format.open_memmap(target / PIXELS, mode="r")
        outcome = json.loads((target / OUTCOME).read_bytes())
        reasons = {int(position): reason for position, reason in outcome["reasons"].items()}
        sha256 = outcome["sha256"]
        if outcome["passing"] and not just_written:
            return None
        if len(sha256) == count and pixels.shape == (count - len(reasons), *shape) and pixels.dtype == np.uint8:
            return pixels, sha256, [reasons.get(position, "") for position in range(count)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None


def _write(target: Path, shape: Shape, count: int, pictures: Iterable["Outcome"]) -> None:
    """Whole, or not at all."""
    needed = count * math.prod(shape)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise OSError(f"{size(free)} are free")
    part = target.with_name(PART)
    part.mkdir()
    try:
        with (part / PIXELS).open("wb") as file:
            outcome = _write_pixels(file, shape, count, pictures)
        (part / OUTCOME).write_text(json.dumps(outcome), encoding="ascii")
        files.fsync_tree(part)
        part.replace(target)
        files.fsync(target.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write_pixels(file: BinaryIO, shape: Shape, count: int, pictures: Iterable["Outcome"]) -> dict[str, object]:
    """The pictures in numpy's own format, one after another; what outcome.json tells of them."""
    _write_header(file, (count, *shape))
    begin = file.tell()
    sha256: list[str] = []
    reasons: dict[int, str] = {}
    passing, flushed = False, begin
    for position, outcome in enumerate(pictures):
        if outcome.pixels is None:
            reasons[position] = outcome.reason
            passing |= outcome.passing
        else:
            file.write(np.ascontiguousarray(outcome.pixels).data)
        sha256.append(outcome.sha256)
        if file.tell() - flushed > FLUSH_BYTES:
            os.fdatasync(file.fileno())
            flushed = file.tell()
    if reasons:  # there are fewer than the header says
        file.seek(0)
        _write_header(file, (count - len(reasons), *shape))
        if file.tell() != begin:
            raise RuntimeError("numpy has written a header of another length")
    return {"sha256": sha256, "reasons": reasons, "passing": passing}


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Of the same length whatever the number of pictures: numpy leaves room for the first dimension to grow."""
    described = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


def _no_room(folder: Path, shape: Shape, count: int, reason: str) -> str:
    needed = f"{count:,} pictures of {write_shape(shape)} take {size(count * math.prod(shape))}"
    ways = "free some space, set TINTYPE_HOME to a folder on a larger disk, or a smaller input"
    return f"{needed}, which cannot be kept in {folder} ({reason}): {ways}"


def _digest(values: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value).encode() + b"\n")
    return digest.hexdigest()[:DIGITS]
