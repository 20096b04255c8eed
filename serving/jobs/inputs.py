"""The files of a folder, in one order for ever, cut into chunks on the disk.

Every file that is not hidden is an input and gets its row, be it a picture or not; so nothing is lost unseen. Links are
read when they stay inside the folder. The listing goes to the disk a chunk at a time and is never held in memory.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from artifacts.errors import WrongUse

# A chunk ends at so many files or bytes: small files make large chunks, photographs make several, so that all cores and
# the progress bar have work; a kill -9 loses at most one chunk a process.
CHUNK = 512  # files
CHUNK_BYTES = 16_000_000


class Input(NamedTuple):
    """One file: `path` in the folder, size and time of change when it was listed, and why it is not to be read."""

    path: str
    size: int
    changed: int  # nanoseconds
    problem: str = ""


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


def write_listing(folder: Path, target: Path, skip: Path) -> Listing:
    """List `folder` into chunk files in `target`, in place of those that are there.

    `skip` is a directory that is left out: the job's own.

    Raises:
        WrongUse: the folder holds no files.
    """
    target.mkdir(parents=True, exist_ok=True)
    total = chunks = 0
    for inputs in _cut(_walk(folder, skip)):
        (target / _file_name(chunks)).write_text(json.dumps(inputs))  # made anew by each run, so not fsynced
        total += len(inputs)
        chunks += 1
    for stale in target.glob("[0-9]*.json"):
        if int(stale.stem) >= chunks:
            stale.unlink()
    if not total:
        raise WrongUse(f"{folder} holds no files; give a folder of pictures")
    return Listing(total, chunks)


def _cut(listed: Iterator[Input]) -> Iterator[list[Input]]:
    inputs: list[Input] = []
    total = 0
    for each in listed:
        inputs.append(each)
        total += each.size
        if len(inputs) == CHUNK or total >= CHUNK_BYTES:
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


def _walk(folder: Path, skip: Path) -> Iterator[Input]:
    """Depth first, names in byte order; a stack of our own, for a path may be deeper than Python's."""
    root = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - with a separator at its end, as `/` has
    left_out = os.path.realpath(skip)
    stack = [_entries(root)]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, OSError):
            problem = f"folder_unreadable: the folder cannot be listed ({entry.strerror})"
            yield Input(os.path.relpath(entry.filename, root), 0, 0, problem)
        elif entry.is_dir(follow_symlinks=False):
            if entry.path != left_out:
                stack.append(_entries(entry.path))
        else:
            yield _input(entry, root)


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
