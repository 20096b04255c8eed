"""Who is at work on what: a file for each attempt, which a living holder touches every second.

    leases/00000012.1     the first attempt at chunk 12; its holder died, for nobody has touched it for a while
    leases/00000012.2     the second one, at work

The highest attempt is the one that counts, and of several who claim it at once the file system lets one succeed. Those
who give up or finish remove their file, so the ones that are left over count the deaths. A lease saves double work and
is no lock: two who do the same publish the same bytes. Ages are differences between two times of the same file system,
so the clocks of the hosts need not agree.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

from artifacts import files

BEAT = 1.0  # seconds between two signs of life
LEASE = 6.0  # seconds without a sign of life after which another may claim
STALL = 300.0  # seconds without progress after which a holder gives no more signs: whoever hangs looks alive
CLOCK = ".clock"

Alive = Callable[[], bool]  # whether the work is still wanted


class Claim(NamedTuple):
    """The last attempt at something."""

    attempt: int
    live: bool
    done: int  # files, as its holder has said last


class Leases:
    """The leases in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claims(self) -> dict[str, Claim]:
        """The last attempt at each thing that was begun and not finished."""
        found: dict[str, Claim] = {}
        now = None
        for name, attempt in self._attempts():
            if name in found and found[name].attempt > attempt:
                continue
            now = self.now() if now is None else now
            found[name] = self._claim(name, attempt, now)
        return found

    def claim(self, name: str, wanted: Alive = lambda: True) -> "Lease | None":
        """A lease, in a `with` statement; None while another holds it. `wanted` is asked at every sign of life."""
        last = self.claims().get(name, Claim(0, live=False, done=0))
        path = self._folder / f"{name}.{last.attempt + 1}"
        try:
            handle = None if last.live else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return None
        return None if handle is None else Lease(path, handle, last.attempt + 1, wanted)

    def note(self, name: str) -> Path:
        """A file for what the next attempt should know."""
        return self._folder / f"{name}.json"

    def clear(self, name: str) -> None:
        """Forget all attempts at what is done."""
        self.note(name).unlink(missing_ok=True)
        for each, attempt in self._attempts():
            if each == name:
                (self._folder / f"{name}.{attempt}").unlink(missing_ok=True)

    def _attempts(self) -> Iterator[tuple[str, int]]:
        for entry in os.scandir(self._folder):
            name, _, attempt = entry.name.rpartition(".")
            if name and attempt.isdecimal():
                yield name, int(attempt)

    def _claim(self, name: str, attempt: int, now: float) -> Claim:
        path = self._folder / f"{name}.{attempt}"
        try:
            live = now - path.stat().st_mtime < LEASE
            said = path.read_bytes().split()[:1]
        except FileNotFoundError:  # finished meanwhile
            return Claim(attempt, live=False, done=0)
        return Claim(attempt, live, int(said[0]) if said and said[0].isdigit() else 0)

    def now(self) -> float:
        """The time of the file system, which need not be that of this host."""
        clock = self._folder / CLOCK
        clock.touch()
        return clock.stat().st_mtime


class Lease:
    """One attempt, at work. Leaving the `with` statement gives it back, unless `die` was called."""

    def __init__(self, path: Path, handle: int, attempt: int, wanted: Alive) -> None:
        self.attempt = attempt
        self.stopped = threading.Event()  # the work is not wanted any more, or another has it
        self._path, self._handle, self._wanted = path, handle, wanted
        self._next = path.with_suffix(f".{attempt + 1}")
        self._moved = monotonic()
        self._done = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{path.name}", daemon=True)

    def progress(self, done: int) -> None:
        """Say how many files are done."""
        self._done, self._moved = done, monotonic()

    def moved(self) -> None:
        """Say that the work goes on, though no file more is done."""
        self._moved = monotonic()

    def die(self) -> None:
        """Leave the attempt as one that died, and need not be waited for."""
        self._end()
        os.utime(self._path, (0, 0))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._over.is_set():
            self._end()
            self._path.unlink(missing_ok=True)

    def _end(self) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._handle)

    def _beat(self) -> None:
        while True:
            if monotonic() - self._moved < STALL:
                self._touch()
            if self._next.exists() or not self._wanted():
                self.stopped.set()
            if self._over.wait(BEAT):
                return

    def _touch(self) -> None:
        try:
            os.utime(self._handle)
            text = f"{self._done:012d} {socket.gethostname()}\n".encode()
            os.pwrite(self._handle, text, 0)
        except OSError:  # a full disk: the time was set before
            return


def make_folder(path: Path) -> None:
    """A folder for leases."""
    path.mkdir()
    files.write_atomic(path / CLOCK, "")
