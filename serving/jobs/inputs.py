"""The listing of a folder, cut into chunks on the disk. It goes there a chunk at a time and is never held in memory.

`write_listing` lists anew. `extend_listing` goes on after the last file that is listed: so one that was killed is
continued by another, and two at once write one listing, for a chunk that is there is never written again.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from artifacts import files
from artifacts.errors import WrongUse
from serving.jobs.folders import Folder, walk
from serving.jobs.walk import Hidden, Input

# A chunk ends at so many files or bytes: small files make large chunks, photographs make several, so that all cores and
# the progress bar have work; a kill -9 loses at most one chunk a process.
CHUNK = 512  # files
CHUNK_BYTES = 16_000_000
SHELF = 1000  # parts of a folder: a look at what is new costs the same, however many there are
LISTED = "listed.json"  # how much was found, once all is; beside the chunks


SLOWLY = 2  # chunks, the first ones, that are FIRST of a whole one; each after them is GROWTH times as large
FIRST, GROWTH = 1 / 16, 1.5


class Cut(NamedTuple):
    """A chunk ends after so many files or bytes, and there after a whole bunch: so batches are the same in any cut.

    With `ramp` the first ones are small, so that many have work soon, and a small job is shared as well.
    """

    files: int
    bytes: int
    bunch: int = 1
    ramp: bool = False

    def of(self, chunk: int) -> "Cut":
        """What holds for a chunk, by its number."""
        if not self.ramp:
            return self
        part = min(1.0, FIRST * GROWTH ** max(0, min(chunk - SLOWLY + 1, 100)))
        return self._replace(files=math.ceil(self.files * part), bytes=math.ceil(self.bytes * part))


Source = Callable[[int, str | None], Iterator[Input]]  # (inputs listed so far, path of the last one) -> the others


class Chunk(NamedTuple):
    """A listed chunk. Its digest stands in the name of its part: a part of another listing is not taken for it."""

    number: int
    digest: str
    inputs: list[Input]
    hidden: int = 0  # files and folders that were passed over on the way to these

    @property
    def part(self) -> str:
        """Where its part lies, in the folder of all parts."""
        return f"{self.number // SHELF:05d}/{self.number:08d}-{self.digest[:16]}.parquet"


class Listing(NamedTuple):
    """How much was found: files in all, the chunks they were cut into, and what was hidden and is none of them."""

    files: int
    chunks: int
    hidden: int = 0


def write_listing(folder: Folder, target: Path, skip: Path, bunch: int = 1) -> Listing:
    """List `folder` into chunk files in `target`, in place of those that are there.

    `skip` is a directory that is left out: the job's own. A chunk ends after a multiple of `bunch`.

    Raises:
        WrongUse: the folder holds no files.
    """
    target.mkdir(parents=True, exist_ok=True)
    total = chunks = 0
    hidden = Hidden()
    for inputs, _ in _cut(walk(folder, skip, None, hidden), Cut(CHUNK, CHUNK_BYTES, bunch), 0, hidden):
        (target / _file_name(chunks)).write_text(json.dumps(inputs))  # made anew by each run, so not fsynced
        total += len(inputs)
        chunks += 1
    for stale in target.glob("[0-9]*.json"):
        if int(stale.stem) >= chunks:
            stale.unlink()
    if not total:
        raise WrongUse(f"{folder} holds no files; give a folder of pictures")
    return Listing(total, chunks, hidden.count)


def extend_listing(
    source: Source, target: Path, cut: Cut, found: Callable[[int], None], hidden: Hidden | None = None
) -> Listing:
    """Go on with the listing in `target` to its end; `found` is told after every chunk how many files there are.

    `hidden` is what `source` counts with.

    Raises:
        WrongUse: there are no files.
    """
    while (listed := read_listed(target)) is None:
        _extend(source, target, cut, found, hidden or Hidden())
    return listed


def _extend(source: Source, target: Path, cut: Cut, found: Callable[[int], None], hidden: Hidden) -> None:
    """To the end, or until somebody else lists, too: then what he has listed counts."""
    (total, chunks, hidden.count), last = _resume(target, hidden.look)
    before = hidden.count
    for inputs, passed in _cut(source(total, last), cut, chunks, hidden):
        listed = [*inputs, {"hidden": passed - before}] if passed > before else inputs
        if not files.write_new(target / _file_name(chunks), json.dumps(listed)):
            return
        total, chunks, before = total + len(inputs), chunks + 1, passed
        found(total)
    if not total:
        raise WrongUse("there are no files to classify; give a folder of pictures, or a manifest that names some")
    files.write_new(target / LISTED, json.dumps(Listing(total, chunks, hidden.count)._asdict()))


def read_listed(target: Path) -> Listing | None:
    """How much was found; None while it is still being listed."""
    try:
        return Listing(**json.loads((target / LISTED).read_bytes()))
    except FileNotFoundError:
        return None


def has_chunk(target: Path, number: int) -> bool:
    """Whether a chunk is listed."""
    return (target / _file_name(number)).exists()


def _resume(target: Path, look: Callable[[], object]) -> tuple[Listing, str | None]:
    """What is listed so far, and the last path among it."""
    total = chunks = hidden = 0
    last = None
    while has_chunk(target, chunks):
        chunk = read_chunk(target, chunks)
        total, chunks, hidden = total + len(chunk.inputs), chunks + 1, hidden + chunk.hidden
        look()
        last = chunk.inputs[-1].path
    return Listing(total, chunks, hidden), last


def _cut(listed: Iterator[Input], cut: Cut, number: int, hidden: Hidden) -> Iterator[tuple[list[Input], int]]:
    """The inputs of one chunk after another, from that of a number on, and how much was hidden up to its last one."""
    inputs: list[Input] = []
    passed, total, at = hidden.count, 0, cut.of(number)
    for each in listed:
        inputs.append(each)
        passed, total = hidden.count, total + each.size
        if (len(inputs) >= at.files or total >= at.bytes) and len(inputs) % cut.bunch == 0:
            yield inputs, passed
            number += 1
            inputs, total, at = [], 0, cut.of(number)
    if inputs:
        yield inputs, passed


def read_chunk(target: Path, number: int) -> Chunk:
    """A chunk that `write_listing` wrote."""
    text = (target / _file_name(number)).read_bytes()
    rows = json.loads(text)
    hidden = rows.pop()["hidden"] if rows and isinstance(rows[-1], dict) else 0
    return Chunk(number, hashlib.sha256(text).hexdigest(), [Input(*row) for row in rows], hidden)


def _file_name(number: int) -> str:
    return f"{number:08d}.json"
