"""Where the bytes of a log go: standard output, or a file. None of them ever waits for whoever reads."""

import os
import select
import socket
import stat
import sys
from pathlib import Path
from typing import Protocol

from artifacts.errors import WrongUse

PIPE_BUF = select.PIPE_BUF  # bytes that a pipe takes as one piece or not at all (pipe(7))
BULK = 1_000_000  # bytes at a time to what is no pipe
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC


class Outlet(Protocol):
    """Somewhere to write."""

    limit: int  # bytes that may be written at a time

    def write(self, data: bytes) -> int:
        """How many bytes were taken; fewer than all when no more are taken now.

        Raises:
            OSError: none will be.
        """

    def close(self) -> None:
        """Free the file."""


class StandardOutput:
    """File descriptor 1, whatever it is.

    O_NONBLOCK belongs to an open file and not to a descriptor: set on ours, it would be set for whoever gave it to us,
    too. So a pipe or a terminal is opened anew; a socket has a flag for each call; a file never makes anyone wait.
    """

    def __init__(self) -> None:
        mode = os.fstat(1).st_mode
        self._socket = socket.socket(fileno=os.dup(1)) if stat.S_ISSOCK(mode) else None
        anew = _reopened() if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) else None
        self._handle = os.dup(1) if anew is None else anew
        self._may_wait = anew is None and not stat.S_ISREG(mode)
        self.limit = PIPE_BUF if stat.S_ISFIFO(mode) else BULK

    def write(self, data: bytes) -> int:
        """Write what is taken now."""
        try:
            if self._socket:
                return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            if self._may_wait and not _writable(self._handle):
                return 0
            return os.write(self._handle, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Free our copies; descriptor 1 stays open."""
        os.close(self._handle)
        if self._socket:
            self._socket.close()


class AppendedFile:
    """A file that several processes may append to, opened anew when it was moved away or removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._handle = os.open(path, _APPEND, 0o644)
        except OSError as error:
            raise WrongUse(
                f"TINTYPE_ACCESS_LOG must be -, off, or the path of a file that can be written; received {str(path)!r} "
                f"({error.strerror})"
            ) from None
        self.limit = PIPE_BUF if stat.S_ISFIFO(os.fstat(self._handle).st_mode) else BULK

    def write(self, data: bytes) -> int:
        """Append, to the file that has the name now."""
        if self._moved():
            handle = os.open(self._path, _APPEND, 0o644)
            os.close(self._handle)
            self._handle = handle
        try:
            return os.write(self._handle, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Free the file."""
        os.close(self._handle)

    def _moved(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._handle))
        except FileNotFoundError:
            return True


def outlet(where: str) -> Outlet | None:
    """What TINTYPE_ACCESS_LOG names: `-`, `off`, or a path; None when nothing is to be written.

    Raises:
        WrongUse: the file cannot be written.
    """
    if where == "off" or (where == "-" and sys.__stdout__ is None):  # a process without descriptor 1
        return None
    return StandardOutput() if where == "-" else AppendedFile(Path(where).expanduser().absolute())


def _reopened() -> int | None:
    """Descriptor 1, opened once more so that it never waits; None where the system does not allow it."""
    try:
        return os.open("/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


def _writable(handle: int) -> bool:
    """Whether a write would not wait: all there is to go by where the descriptor could not be opened anew."""
    poll = select.poll()
    poll.register(handle, select.POLLOUT)
    return bool(poll.poll(0))
