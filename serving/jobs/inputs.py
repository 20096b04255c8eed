"""The listing of a folder, cut into chunks on the disk. It goes there a chunk at a time and is never held in memory.

`write_listing` lists anew. `extend_listing` goes on after the last file that is listed: so one that was killed is
continued by another, and two at once write one listing, for a chunk that is there is never written again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from artifacts import files
from artifacts.errors import WrongUse
from serving.jobs.folders import Folder, walk
from serving.jobs.walk import Input

# A chunk ends at so many files or bytes: small files make large chunks, photographs make several, so that all cores and
# the progress bar have work; a kill -9 loses at most one chunk a process.
CHUNK = 512  # files
CHUNK_BYTES = 16_000_000
SHELF = 1000  # parts of a folder: a look at what is new costs the same, however many there are
LISTED = "listed.json"  # how much was found, once all is; beside the chunks


class Cut(NamedTuple):
    """A chunk ends after so many files or bytes, and there after a whole bunch: so batches are the same in any cut."""

    files: int
    bytes: int
    bunch: int = 1


Source = Callable[[int, str | None], Iterator[Input]]  # (inputs listed so far, path of the last one) -> the others


class Chunk(NamedTuple):
    """A listed chunk. Its digest stands in the name of its part: a part of another listing is not taken for it."""

    number: int
    digest: str
    inputs: list[Input]

    @property
    def part(self) -> str:
        """Where its part lies, in the folder of all parts."""
        return f"{self.number // SHELF:05d}/{self.number:08d}-{self.digest[:16]}.parquet"


class Listing(NamedTuple):
    """How much was found: files in all, and the chunks they were cut into."""

    files: int
    chunks: int


def write_listing(folder: Folder, target: Path, skip: Path, bunch: int = 1) -> Listing:
    """List `folder` into chunk files in `target`, in place of those that are there.

    `skip` is a directory that is left out: the job's own. A chunk ends after a multiple of `bunch`.

    Raises:
        WrongUse: the folder holds no files.
    """
    target.mkdir(parents=True, exist_ok=True)
    total = chunks = 0
    for inputs in _cut(walk(folder, skip), Cut(CHUNK, CHUNK_BYTES, bunch)):
        (target / _file_name(chunks)).write_text(json.dumps(inputs))  # made anew by each run, so not fsynced
        total += len(inputs)
        chunks += 1
    for stale in target.glob("[0-9]*.json"):
        if int(stale.stem) >= chunks:
            stale.unlink()
    if not total:
        raise WrongUse(f"{folder} holds no files; give a folder of pictures")
    return Listing(total, chunks)


def extend_listing(source: Source, target: Path, cut: Cut, found: Callable[[int], None]) -> Listing:
    """Go on with the listing in `target` to its end; `found` is told after every chunk how many files there are.

    Raises:
        WrongUse: there are no files.
    """
    while (listed := read_listed(target)) is None:
        _extend(source, target, cut, found)
    return listed


def _extend(source: Source, target: Path, cut: Cut, found: Callable[[int], None]) -> None:
    """To the end, or until somebody else lists, too: then what he has listed counts."""
    total, chunks, last = _resume(target)
    for inputs in _cut(source(total, last), cut):
        if not files.write_new(target / _file_name(chunks), json.dumps(inputs)):
            return
        total += len(inputs)
        chunks += 1
        found(total)
    if not total:
        raise WrongUse("there are no files to classify; give a folder of pictures, or a manifest that names some")
    files.write_new(target / LISTED, json.dumps(Listing(total, chunks)._asdict()))


def read_listed(target: Path) -> Listing | None:
    """How much was found; None while it is still being listed."""
    try:
        return Listing(**json.loads((target / LISTED).read_bytes()))
    except FileNotFoundError:
        return None


def has_chunk(target: Path, number: int) -> bool:
    """Whether a chunk is listed."""
    return (target / _file_name(number)).exists()


def _resume(target: Path) -> tuple[int, int, str | None]:
    """Files and chunks that are listed, and the last path among them."""
    total = chunks = 0
    last = None
    while has_chunk(target, chunks):
        inputs = read_chunk(target, chunks).inputs
        total, chunks, last = total + len(inputs), chunks + 1, inputs[-1].path
    return total, chunks, last


def _cut(listed: Iterator[Input], cut: Cut) -> Iterator[list[Input]]:
    inputs: list[Input] = []
    total = 0
    for each in listed:
        inputs.append(each)
        total += each.size
        if (len(inputs) >= cut.files or total >= cut.bytes) and len(inputs) % cut.bunch == 0:
            yield inputs
            inputs, total = [], 0
    if inputs:
        yield inputs


def read_chunk(target: Path, number: int) -> Chunk:
    """A chunk that `write_listing` wrote."""
    text = (target / _file_name(number)).read_bytes()
    return Chunk(number, hashlib.sha256(text).hexdigest(), [Input(*row) for row in json.loads(text)])


def _file_name(number: int) -> str:
    return f"{number:08d}.json"
