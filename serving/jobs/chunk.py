"""One chunk: files -> pixels -> probabilities -> a row for each file, in order.

A chunk depends on nothing but its inputs and the model, so it may be done by anyone, twice, or again after a kill, with
the same bytes as its result.

A picture that came before in its bunch, byte for byte, is neither decoded nor inferred again. It leaves a gap in its
batch, as a reject does, so what a batch is made of depends on its bunch alone. Doubles that lie further apart are
inferred again: what could be left out then would depend on how the job was cut, and on who was quicker.
"""

import errno
import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from artifacts import pixels
from artifacts.bundle import Bundle
from artifacts.errors import BadPicture
from serving.answers import TOP_K, answers
from serving.errors import NotNow
from serving.jobs.folders import Folder, readers
from serving.jobs.walk import Input

BUNCH = 64  # pictures that go to a decoder together and are looked through for doubles; a batch, where that is more
# Troubles of the machine and not of the file: as a reject they would stay in the table for ever.
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)

Row = dict[str, Any]  # path, label, confidence, top, width, height, sha256, model, version, error, thumbnail
Bunch = list[list[Input]]  # whole batches
Seen = dict[str, Row]  # the first row of each sha256 in a bunch
_SAME = ("label", "confidence", "top", "width", "height", "thumbnail")  # what a double has from the first one


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
    bunch: int = BUNCH
    thumbnail: int = 0  # side of a small copy of each large picture that is kept, or 0

    def reading(self, folder: Folder) -> "Reading":
        """How the files of a folder become its pixels."""
        return Reading.of(self.bundle, folder, self.max_pixels)._replace(thumbnail=self.thumbnail)


class Reading(NamedTuple):
    """What is needed to turn files into pixels, and small: it is handed to other processes."""

    folder: Folder
    model: str
    version: int
    shape: tuple[int, int, int]  # height, width, channels
    max_pixels: int
    thumbnail: int = 0  # as of a classifier

    @classmethod
    def of(cls, bundle: Bundle, folder: Folder, max_pixels: int) -> "Reading":
        """As a bundle wants them."""
        return cls(folder, bundle.name, bundle.version, bundle.shape, max_pixels)

    def decode(self, data: bytes) -> pixels.Picture:
        """The pixels of a file.

        Raises:
            BadPicture: it has none.
        """
        return pixels.decode(data, *self.shape, self.max_pixels, self.thumbnail)


class Decoded(NamedTuple):
    """The inputs of a batch: a row for each, those without a picture complete, and the pixels of the others."""

    rows: list[Row]
    pixels: NDArray[np.uint8] | None  # (N, height, width, channels), of the rows with a width; None when N is 0


def classify_chunk(folder: Folder, inputs: list[Input], model: Classifier) -> list[Row]:
    """A row for every input, in input order; a file that cannot be classified has its reason in `error`."""
    reading, rows = model.reading(folder), []
    for bunch in bunches(inputs, model):
        seen: Seen = {}
        rows += repeated([row for batch in bunch for row in infer(decode(batch, reading, seen), model)])
    return rows


def bunch_size(bunch: int, batch: int) -> int:
    """Pictures of a bunch: about `bunch`, in whole batches. A chunk ends where one does."""
    return max(1, bunch // batch) * batch


def bunches(inputs: list[Input], model: Classifier) -> Iterator[Bunch]:
    """The inputs of a chunk, in batches as they are given to the model together, in whichever process."""
    batches = (inputs[start : start + model.batch] for start in range(0, len(inputs), model.batch))
    while bunch := list(islice(batches, bunch_size(model.bunch, model.batch) // model.batch)):
        yield bunch


def decode(inputs: list[Input], reading: Reading, seen: Seen) -> Decoded:
    """Read and decode files, but for doubles of those that were `seen` in the bunch.

    Raises:
        NotNow: one cannot be read, for a reason that is not its own.
    """
    rows, pictures = [], []
    for listed, read in zip(inputs, readers(reading.folder, inputs), strict=True):
        row = empty_row(listed, reading)
        rows.append(row)
        picture = None if listed.problem else _decode(read, row, reading, seen)
        if picture is not None:
            pictures.append(picture)
    return Decoded(rows, np.stack(pictures) if pictures else None)


def infer(decoded: Decoded, model: Classifier) -> list[Row]:
    """The rows, those of pictures filled in with what the model says."""
    if decoded.pixels is not None:
        found = answers(model.runtime.run(decoded.pixels), model.bundle.labels, TOP_K)
        for row, answer in zip((row for row in decoded.rows if row["width"]), found, strict=True):
            row["label"], row["confidence"] = answer["label"], answer["confidence"]
            row["top"] = orjson.dumps(answer["top"]).decode()
    return decoded.rows


def is_double(row: Row, seen: Seen) -> bool:
    """Whether a row's picture was seen before in its bunch: then it has the first one's error; else it is the first."""
    first = seen.setdefault(row["sha256"], row)
    if first is row:
        return False
    row["error"] = first["error"]
    return True


def repeated(rows: list[Row]) -> list[Row]:
    """The rows of a bunch, after inference: doubles filled in with what the first one's row says."""
    seen: Seen = {}
    for row in rows:
        if row["sha256"] and not row["error"] and is_double(row, seen):
            row.update((name, seen[row["sha256"]][name]) for name in _SAME)
    return rows


def empty_row(listed: Input, reading: Reading) -> Row:
    """The row of an input of which nothing is known yet, but what the listing says."""
    shown = listed.path.encode("utf-8", "backslashreplace").decode()  # a name on the disk need not be UTF-8
    return {
        "path": shown, "label": None, "confidence": None, "top": None, "width": None, "height": None, "sha256": None,
        "model": reading.model, "version": reading.version, "error": listed.problem or None,
        "thumbnail": None,
    }  # fmt: skip


def _decode(read: Callable[[], bytes], row: Row, reading: Reading, seen: Seen) -> NDArray[np.uint8] | None:
    """Pixels of a file, its size and sha256 noted in its row; None for a double, or when there are none, and why."""
    try:
        data = read()
        row["sha256"] = hashlib.sha256(data).hexdigest()
        if is_double(row, seen):
            return None
        picture = reading.decode(data)
    except BadPicture as error:
        row["error"] = f"{error.code}: {error}"
        return None
    except OSError as error:
        if error.errno in OURS:
            raise NotNow(f"{row['path']} cannot be read now ({error.strerror})") from error
        row["error"] = f"file_unreadable: the file cannot be read ({error.strerror})"
        return None
    row["width"], row["height"], row["thumbnail"] = picture.width, picture.height, picture.thumbnail
    return picture.pixels
