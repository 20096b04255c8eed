"""Where the pictures of a job lie: a folder of this machine (a Path), or one in the cloud."""

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from artifacts.errors import BadPicture, WrongUse
from serving.errors import NotNow
from serving.jobs import cloud
from serving.jobs.buckets import BUCKETS
from serving.jobs.cloud import CloudFolder
from serving.jobs.walk import Hidden, Input
from serving.jobs.walk import walk as walk_here

MAX_FILE_BYTES = cloud.MAX_BYTES

Folder = Path | CloudFolder


def to_folder(text: str) -> Folder:
    """A folder as a person names it.

    Raises:
        WrongUse: it is an address of another kind.
    """
    if not cloud.is_cloud(text):
        return Path(text)
    scheme, _, place = text.partition("://")
    if scheme not in BUCKETS or not place.strip("/"):
        raise WrongUse(f"a folder must be a path, s3://bucket/prefix or gs://bucket/prefix; received {text!r}")
    return CloudFolder(text.rstrip("/"))


def address(folder: Folder) -> str:
    """As others find it, wherever they are at home."""
    return str(folder.resolve()) if isinstance(folder, Path) else folder.url


def exists(folder: Folder) -> bool:
    """Whether it is there.

    Raises:
        NotNow: it cannot be known: it is in the cloud, and out of reach.
    """
    return folder.is_dir() if isinstance(folder, Path) else folder.exists()


def see(folder: Folder) -> None:
    """Raise when a folder is not there: then none of its pictures is to blame.

    Raises:
        NotNow: it is not there, or out of reach.
    """
    if exists(folder):
        return
    if isinstance(folder, Path):
        raise NotNow(f"the folder {folder.name!r} is not there on {socket.gethostname()}; mount it there")
    raise NotNow(f"there is nothing under {folder}")


def walk(folder: Folder, job: Path, after: str | None = None, hidden: Hidden | None = None) -> Iterator[Input]:
    """Its files in one order for ever, behind `after`; `job` is the job's directory, `hidden` counts what is left out.

    Raises:
        NotNow: it is out of reach.
    """
    return walk_here(folder, job, after, hidden) if isinstance(folder, Path) else folder.walk(after, hidden)


def readers(folder: Folder, inputs: list[Input]) -> Iterator[Callable[[], bytes]]:
    """For each input what gives its bytes, or raises as `read_file` and `CloudFolder.readers` do."""
    if isinstance(folder, Path):
        root = str(folder)
        return (partial(read_file, os.path.join(root, each.path)) for each in inputs)  # noqa: PTH118 - of millions
    return folder.readers(inputs)


def read(folder: Folder, path: str) -> bytes:
    """A file's bytes.

    Raises:
        BadPicture, OSError, NotNow: it cannot be read.
    """
    return read_file(folder / path) if isinstance(folder, Path) else folder.read(path)


def copy(folder: Folder, path: str, target: Path) -> None:
    """Write a file of it elsewhere, of any size where it is a folder of this machine."""
    if isinstance(folder, Path):
        shutil.copyfile(folder / path, target)
    else:
        target.write_bytes(folder.read(path))


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
