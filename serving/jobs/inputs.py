"""The files of a folder, in one order for ever, cut into chunks on the disk.

Every file that is not hidden is an input and gets its row, be it a picture or not; so nothing is lost unseen. Links are
read when they stay inside the folder. The listing goes to the disk a chunk at a time and is never held in memory.

`write_listing` lists anew. `extend_listing` goes on after the last file that is listed: so one that was killed is
continued by another, and two at once write one listing, for a chunk that is there is never written again.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from artifacts import files
from artifacts.errors import WrongUse

# A chunk ends at so many files or bytes: small files make large chunks, photographs make several, so that all cores and
# the progress bar have work; a kill -9 loses at most one chunk a process.
CHUNK = 512  # files
CHUNK_BYTES = 16_000_000
LISTED = "listed.json"  # how much was found, once all is; beside the chunks


class Cut(NamedTuple):
    """A chunk ends after so many files or bytes, and there after a whole bunch: so batches are the same in any cut."""

    files: int
    bytes: int
    bunch: int = 1


class Input(NamedTuple):
    """One file: `path` in the folder, size and time of change when it was listed, and why it is not to be read."""

    path: str
    size: int
    changed: int  # nanoseconds
    problem: str = ""
    truth: str = ""  # the label that it should have, where that is known


Source = Callable[[int, str | None], Iterator[Input]]  # (inputs listed so far, path of the last one) -> the others


class Chunk(NamedTuple):
    """A listed chunk. Its digest stands in the name of its part: a part of another listing is not taken for it."""

    number: int
    digest: str
    inputs: list[Input]

    @property
    def part(self) -> str:
        """File name of its part."""
        return f"{self.number:08d}-{self.digest[:16]}.parquet"


class Listing(NamedTuple):
    """How much was found: files in all, and the chunks they were cut into."""

    files: int
    chunks: int


def write_listing(folder: Path, target: Path, skip: Path, bunch: int = 1) -> Listing:
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
    if listed := read_listed(target):
        return listed
    total, chunks, last = _resume(target)
    for inputs in _cut(source(total, last), cut):
        if not files.write_new(target / _file_name(chunks), json.dumps(inputs)):
            return extend_listing(source, target, cut, found)  # another one lists, too
        total += len(inputs)
        chunks += 1
        found(total)
    if not total:
        raise WrongUse("there are no files to classify; give a folder of pictures, or a manifest that names some")
    files.write_new(target / LISTED, json.dumps(Listing(total, chunks)._asdict()))
    return read_listed(target) or Listing(total, chunks)


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


def walk(folder: Path, skip: Path, after: str | None = None) -> Iterator[Input]:
    """The files of a folder, depth first, names in byte order, without `skip`.

    `after` is a path that an earlier walk has yielded: this one begins behind it.
    """
    root = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - with a separator at its end, as `/` has
    left_out = os.path.realpath(skip)
    seen = _place(after) if after else []
    stack = [_entries(root)]  # of our own, for a path may be deeper than Python's
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif seen and _is_behind(entry, root, seen):
            continue
        elif isinstance(entry, OSError):
            problem = f"folder_unreadable: the folder cannot be listed ({entry.strerror})"
            yield Input(os.path.relpath(entry.filename, root), 0, 0, problem)
        elif entry.is_dir(follow_symlinks=False):
            if entry.path != left_out:
                stack.append(_entries(entry.path))
        else:
            yield _input(entry, root)


def _place(path: str) -> list[bytes]:
    """What the walk's order is the order of."""
    return os.fsencode(path).split(b"/")


def _is_behind(entry: "os.DirEntry[str] | OSError", root: str, seen: list[bytes]) -> bool:
    """Whether all that an entry stands for came before `seen`, or is it."""
    if isinstance(entry, OSError):
        return _place(os.path.relpath(entry.filename, root)) <= seen
    place = _place(entry.path[len(root) :])
    if entry.is_dir(follow_symlinks=False):
        return place < seen[: len(place)]
    return place <= seen


def _entries(folder: str) -> "Iterator[os.DirEntry[str] | OSError]":
    try:
        with os.scandir(folder) as found:
            entries = sorted(
                (entry for entry in found if entry.name[0] != "."), key=lambda each: os.fsencode(each.name)
            )
    except OSError as error:
        return iter([error])
    return iter(entries)


def _input(entry: "os.DirEntry[str]", root: str) -> Input:
    path = entry.path[len(root) :]
    try:
        found = entry.stat()
    except OSError as error:
        return Input(path, 0, 0, f"file_unreadable: the file cannot be read ({error.strerror})")
    problem = ""
    if entry.is_symlink() and not f"{os.path.realpath(entry.path)}{os.sep}".startswith(root):
        problem = "symbolic_link: the link leads out of the folder"
    elif not stat.S_ISREG(found.st_mode):
        problem = "not_a_file: this is a link to a folder, a pipe, a socket or a device"
    return Input(path, found.st_size, found.st_mtime_ns, problem)
