"""One chunk: files -> pixels -> probabilities -> a row for each file, in order.

A chunk depends on nothing but its inputs and the model, so it may be done by anyone, twice, or again after a kill, with
the same bytes as its result.
"""

import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from artifacts import pixels
from artifacts.bundle import Bundle
from artifacts.errors import BadPicture, TintypeError
from serving.answers import TOP_K, answers
from serving.engine.runtime import Runtime
from serving.jobs.inputs import Input

MAX_FILE_BYTES = 256_000_000
# Troubles of the machine and not of the file: as a reject they would stay in the table for ever.
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)

Row = dict[str, Any]  # path, label, confidence, top, width, height, sha256, model, version, error


class Classifier(NamedTuple):
    """A model, opened, as a chunk needs it."""

    bundle: Bundle
    runtime: Runtime
    batch: int
    max_pixels: int


def classify_chunk(folder: Path, inputs: list[Input], model: Classifier) -> list[Row]:
    """A row for every input, in input order; a file that cannot be classified has its reason in `error`."""
    rows: list[Row] = []
    decoded: list[NDArray[np.uint8]] = []
    places: list[int] = []
    for place, listed in enumerate(inputs):
        row = _empty_row(listed, model.bundle)
        rows.append(row)
        picture = _decode(folder, listed, row, model)
        if picture is not None:
            decoded.append(picture)
            places.append(place)
        if decoded and (len(decoded) == model.batch or place == len(inputs) - 1):
            _infer(decoded, [rows[each] for each in places], model)
            decoded, places = [], []
    return rows


def _empty_row(listed: Input, bundle: Bundle) -> Row:
    shown = listed.path.encode("utf-8", "backslashreplace").decode()  # a name on the disk need not be UTF-8
    return {
        "path": shown, "label": None, "confidence": None, "top": None, "width": None, "height": None, "sha256": None,
        "model": bundle.name, "version": bundle.version, "error": listed.problem or None,
    }  # fmt: skip


def _decode(folder: Path, listed: Input, row: Row, model: Classifier) -> NDArray[np.uint8] | None:
    """Pixels of a file, its size and sha256 noted in its row; None, and the reason noted, when there are none."""
    if listed.problem:
        return None
    try:
        data = read_file(os.path.join(folder, listed.path))  # noqa: PTH118 - a Path for each of millions costs more
        row["sha256"] = hashlib.sha256(data).hexdigest()
        picture = pixels.decode(data, *model.bundle.shape, model.max_pixels)
    except BadPicture as error:
        row["error"] = f"{error.code}: {error}"
        return None
    except OSError as error:
        if error.errno in OURS:
            raise TintypeError(
                f"{listed.path} cannot be read now ({error.strerror}); the same command goes on"
            ) from error
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


def _infer(decoded: list[NDArray[np.uint8]], rows: list[Row], model: Classifier) -> None:
    probabilities = model.runtime.run(np.stack(decoded))
    for row, answer in zip(rows, answers(probabilities, model.bundle.labels, TOP_K), strict=True):
        row["label"], row["confidence"] = answer["label"], answer["confidence"]
        row["top"] = json.dumps(answer["top"], ensure_ascii=False)
