"""Files that are either whole or absent, whatever moment the process is killed at."""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from artifacts.errors import Busy

PUBLIC, PRIVATE = 0o666, 0o600  # modes of files; the umask makes the first 0644 as a rule
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_atomic(path: Path, data: bytes | str, mode: int = PUBLIC) -> None:
    """Write `data` so that a reader sees the old file or the new one, never a part (write, fsync, rename, fsync).

    A name on the disk need not be UTF-8; in text such a byte becomes an escape, from which JSON reads it back. `mode`
    is less what the process's umask takes away.
    """
    with _written(path, data, mode) as part:
        part.replace(path)
    fsync(path.parent)


def write_new(path: Path, data: bytes | str) -> bool:
    """Write `data` as `write_atomic` does, unless the file is there: then it stays as it is, and False is the answer.

    Of several who do so at once, one succeeds.
    """
    with _written(path, data) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            return False
    fsync(path.parent)
    return True


@contextmanager
def _written(path: Path, data: bytes | str, mode: int = PUBLIC) -> Iterator[Path]:
    """`data` on the disk, beside `path`; gone afterwards unless it was renamed."""
    blob = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, _NEW, mode), "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def fsync(path: Path) -> None:
    """Bring one file or directory entry to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(root: Path) -> None:
    """Bring every file and directory below `root`, and `root`, to the disk."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            fsync(Path(folder, name))
        fsync(Path(folder))


def sha256(data: bytes) -> str:
    """Hexadecimal sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = True, busy: str = "") -> Iterator[None]:
    """Hold an exclusive lock on `path` (a file that is made, or a directory). The kernel frees it when we die.

    Raises:
        Busy: with `wait` false, when another process holds it; `busy` is the sentence.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    handle = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(busy or f"{path} is in use by another process; wait until it has finished") from None
        yield
    finally:
        os.close(handle)
