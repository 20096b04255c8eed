"""The files of a folder of this machine, in one order for ever.

Every file that is not hidden is an input and gets its row, be it a picture or not; so nothing is lost unseen. Links are
read when they stay inside the folder. No folder is too large: its names are sorted on the disk when they are many.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from serving.jobs.spill import in_order

LOOK = 4096  # names


class Input(NamedTuple):
    """One file: `path` in the folder, size and time of change when it was listed, and why it is not to be read."""

    path: str
    size: int
    changed: int  # nanoseconds; of an object in the cloud, another number that changes with it
    problem: str = ""
    truth: str = ""  # the label that it should have, where that is known


class Hidden:
    """Counts what a walk passes over: hidden files, and hidden folders as one each.

    `look` is called every few thousand names, for a large folder is read to its end before its first file is known; it
    may raise to stop.
    """

    def __init__(self, look: Callable[[], object] = lambda: None) -> None:
        self.count = 0
        self.look = look


class _Entry(NamedTuple):
    path: str  # in full
    kind: bytes


# What a name ends in while it is sorted. No name has the first byte, and none is smaller: the order is that of names.
_FOLDER, _LINK, _OTHER = b"\0d", b"\0l", b"\0o"
_KIND = len(_OTHER)


class _Unlistable(Exception):
    """A folder that cannot be listed."""


def walk(folder: Path, job: Path, after: str | None = None, hidden: Hidden | None = None) -> Iterator[Input]:
    """The files of a folder, depth first, names in byte order.

    Args:
        folder: where they are.
        job: the directory of the job: it is left out, and names that are too many for memory are sorted there.
        after: a path that an earlier walk has yielded: this one begins behind it.
        hidden: counts what is hidden in each folder when it is opened, but for those that the earlier walk had opened.
    """
    root = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - with a separator at its end, as `/` has
    left_out = os.path.realpath(job)
    seen = _place(after) if after else []
    passed, opened = hidden or Hidden(), _opened(seen, root)
    stack = [_entries(root, job, Hidden(passed.look) if root in opened else passed)]  # our own: paths are deep
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif seen and _is_behind(entry, root, seen):
            continue
        elif isinstance(entry, Input):
            yield entry._replace(path=os.path.relpath(entry.path, root))
        elif entry.kind == _FOLDER:
            if entry.path != left_out:
                path = os.path.join(entry.path, "")  # noqa: PTH118 - as above
                stack.append(_entries(path, job, Hidden(passed.look) if path in opened else passed))
        else:
            yield _input(entry, root)


def _opened(seen: list[bytes], root: str) -> set[str]:
    """The folders that a walk has opened which came to a place, and which another one has to open again."""
    parts = [os.fsdecode(part) for part in seen]
    return {root + "".join(f"{part}/" for part in parts[:depth]) for depth in range(len(parts))}


def _place(path: str) -> list[bytes]:
    """What the walk's order is the order of."""
    return os.fsencode(path).split(b"/")


def _is_behind(entry: _Entry | Input, root: str, seen: list[bytes]) -> bool:
    """Whether all that an entry stands for came before `seen`, or is it."""
    place = _place(entry.path[len(root) :].rstrip("/"))
    if isinstance(entry, _Entry) and entry.kind == _FOLDER:
        return place < seen[: len(place)]
    return place <= seen


def _entries(folder: str, room: Path, hidden: Hidden) -> Iterator[_Entry | Input]:
    """What is in a folder, whose path ends in a separator; or one input that says why that cannot be known."""
    try:
        names = in_order(_looking(_names(folder, hidden), hidden), room)
        for name in _looking(names, hidden):
            yield _Entry(folder + os.fsdecode(name[:-_KIND]), name[-_KIND:])
    except _Unlistable as error:
        yield Input(folder, 0, 0, f"folder_unreadable: the folder cannot be listed ({error})")


def _looking(names: Iterator[bytes], hidden: Hidden) -> Iterator[bytes]:
    for number, name in enumerate(names):
        if number % LOOK == 0:
            hidden.look()
        yield name


def _names(folder: str, hidden: Hidden) -> Iterator[bytes]:
    try:
        with os.scandir(os.fsencode(folder)) as found:
            for entry in found:
                if entry.name.startswith(b"."):
                    hidden.count += 1
                else:
                    yield entry.name + _kind(entry)
    except OSError as error:
        raise _Unlistable(error.strerror) from error


def _kind(entry: "os.DirEntry[bytes]") -> bytes:
    if entry.is_dir(follow_symlinks=False):
        return _FOLDER
    return _LINK if entry.is_symlink() else _OTHER


def _input(entry: _Entry, root: str) -> Input:
    path = entry.path[len(root) :]
    try:
        found = os.stat(entry.path)  # noqa: PTH116 - a Path for each of millions costs more
    except OSError as error:
        return Input(path, 0, 0, f"file_unreadable: the file cannot be read ({error.strerror})")
    problem = ""
    if entry.kind == _LINK and not f"{os.path.realpath(entry.path)}{os.sep}".startswith(root):
        problem = "symbolic_link: the link leads out of the folder"
    elif not stat.S_ISREG(found.st_mode):
        problem = "not_a_file: this is a link to a folder, a pipe, a socket or a device"
    return Input(path, found.st_size, found.st_mtime_ns, problem)
