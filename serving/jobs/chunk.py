"""One chunk: files -> pixels -> probabilities -> a row for each file, in order.

A chunk depends on nothing but its inputs and the model, so it may be done by anyone, twice, or again after a kill, with
the same bytes as its result.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from artifacts import pixels
from artifacts.bundle import Bundle
from artifacts.errors import BadPicture
from serving.answers import TOP_K, answers
from serving.errors import NotNow
from serving.jobs.inputs import Input

MAX_FILE_BYTES = 256_000_000
# Troubles of the machine and not of the file: as a reject they would stay in the table for ever.
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)

Row = dict[str, Any]  # path, label, confidence, top, width, height, sha256, model, version, error


class Model(Protocol):
    """What a chunk needs of a runtime."""

    def run(self, pixels: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Probabilities, float32 (N, classes), of pictures, uint8 (N, height, width, channels)."""


class Classifier(NamedTuple):
    """A model, opened, as a chunk needs it."""

    bundle: Bundle
    runtime: Model
    batch: int
    max_pixels: int

    def reading(self, folder: Path) -> "Reading":
        """How the files of a folder become its pixels."""
        return Reading(folder, self.bundle.name, self.bundle.version, self.bundle.shape, self.max_pixels)


class Reading(NamedTuple):
    """What is needed to turn files into pixels, and small: it is handed to other processes."""

    folder: Path
    model: str
    version: int
    shape: tuple[int, int, int]  # height, width, channels
    max_pixels: int


class Decoded(NamedTuple):
    """The inputs of a batch: a row for each, those without a picture complete, and the pixels of the others."""

    rows: list[Row]
    pixels: NDArray[np.uint8] | None  # (N, height, width, channels), of the rows without an error; None when N is 0


def classify_chunk(folder: Path, inputs: list[Input], model: Classifier) -> list[Row]:
    """A row for every input, in input order; a file that cannot be classified has its reason in `error`."""
    reading = model.reading(folder)
    return [row for batch in batches(inputs, model.batch) for row in infer(decode(batch, reading), model)]


def batches(inputs: list[Input], size: int) -> Iterator[list[Input]]:
    """The inputs of a chunk as they are given to the model together, in whichever process."""
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


def decode(inputs: list[Input], reading: Reading) -> Decoded:
    """Read and decode files.

    Raises:
        NotNow: one cannot be read, for a reason that is not its own.
    """
    rows, pictures = [], []
    for listed in inputs:
        row = empty_row(listed, reading)
        rows.append(row)
        picture = _decode(listed, row, reading)
        if picture is not None:
            pictures.append(picture)
    return Decoded(rows, np.stack(pictures) if pictures else None)


def infer(decoded: Decoded, model: Classifier) -> list[Row]:
    """The rows, those of pictures filled in with what the model says."""
    if decoded.pixels is not None:
        found = answers(model.runtime.run(decoded.pixels), model.bundle.labels, TOP_K)
        for row, answer in zip((row for row in decoded.rows if not row["error"]), found, strict=True):
            row["label"], row["confidence"] = answer["label"], answer["confidence"]
            row["top"] = json.dumps(answer["top"], ensure_ascii=False)
    return decoded.rows


def empty_row(listed: Input, reading: Reading) -> Row:
    """The row of an input of which nothing is known yet, but what the listing says."""
    shown = listed.path.encode("utf-8", "backslashreplace").decode()  # a name on the disk need not be UTF-8
    return {
        "path": shown, "label": None, "confidence": None, "top": None, "width": None, "height": None, "sha256": None,
        "model": reading.model, "version": reading.version, "error": listed.problem or None,
    }  # fmt: skip


def _decode(listed: Input, row: Row, reading: Reading) -> NDArray[np.uint8] | None:
    """Pixels of a file, its size and sha256 noted in its row; None, and the reason noted, when there are none."""
    if listed.problem:
        return None
    try:
        data = read_file(os.path.join(reading.folder, listed.path))  # noqa: PTH118 - a Path for each of millions costs
        row["sha256"] = hashlib.sha256(data).hexdigest()
        picture = pixels.decode(data, *reading.shape, reading.max_pixels)
    except BadPicture as error:
        row["error"] = f"{error.code}: {error}"
        return None
    except OSError as error:
        if error.errno in OURS:
            raise NotNow(f"{listed.path} cannot be read now ({error.strerror})") from error
        row["error"] = f"file_unreadable: the file cannot be read ({error.strerror})"
        return None
    row["width"], row["height"] = picture.width, picture.height
    return picture.pixels


def read_file(path: str | Path) -> bytes:
    """A regular file's bytes. O_NONBLOCK: a pipe that took the file's place since the listing must not hold us up.

    Raises:
        BadPicture: it is no regular file, or too long.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a handle, not a path
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise BadPicture("this is not a regular file any more")
        if found.st_size > MAX_FILE_BYTES:
            raise BadPicture(f"the file has {found.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return file.readall()
