"""The folder in which the web processes of one `tintype serve` leave their metrics for each other.

A file is named by its process: number and time of start, so that a number that is given again is not taken for the same
process. The files of the dead stay, for their counts must; when a process starts, they become one.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from artifacts import files
from artifacts.errors import Busy
from serving.telemetry.exposition import Snapshot, merged

GONE = "gone"  # the sum of those that died
OWNER = ".owner"  # locked while the server lives
PREFIX = "tintype-metrics-"
Total = Callable[[Mapping[str, Snapshot]], str]
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


class Snapshots:
    """This process's file, and those of the others, in a folder that exists.

    `total` makes one text of those of the dead; without it they are forgotten.
    """

    def __init__(self, folder: Path, total: Total | None = merged) -> None:
        self._folder = folder
        self._total = total
        self._name = _identity(os.getpid())
        with suppress(Busy), files.locked(folder, wait=False):  # the next one that starts will do it
            self._bury()

    def publish(self, text: str) -> None:
        """Replace this process's text, in one step."""
        self._replace(self._name, text)

    def others(self) -> dict[str, Snapshot]:
        """What the others have published, the dead among them."""
        with _unburied(self._folder):
            found = {path.name: path.read_text() for path in self._published()}
        return {name: Snapshot(text, _alive(name)) for name, text in found.items() if name != self._name}

    def _published(self) -> list[Path]:
        return [path for path in sorted(self._folder.iterdir()) if not path.name.startswith(".")]

    def _replace(self, name: str, text: str) -> None:
        part = self._folder / f".{name}"
        part.write_text(text)
        part.replace(self._folder / name)

    def _bury(self) -> None:
        """Make one file of those of the dead; a server that goes on for months must not keep one of each."""
        dead = [path for path in self._published() if not _alive(path.name)]
        if len(dead) > 1 or not self._total:
            if self._total:
                self._replace(GONE, self._total({path.name: Snapshot(path.read_text(), alive=False) for path in dead}))
            for path in dead:
                if path.name != GONE:
                    path.unlink()


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder for the snapshots of the processes that are started within; what a kill -9 left behind is removed."""
    root = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for left in root.glob(f"{PREFIX}*/{OWNER}"):
        with suppress(Busy, OSError), files.locked(left, wait=False):
            shutil.rmtree(left.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    try:
        with files.locked(folder / OWNER):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unburied(folder: Path) -> Iterator[None]:
    """While no process makes one file of many: else some would be counted twice, or not at all."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _identity(pid: int) -> str:
    """A process's number and time of start (proc(5)); nothing when it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else f"{pid}-{fields[18]}"


def _alive(name: str) -> bool:
    pid = name.partition("-")[0]
    return pid.isdecimal() and _identity(int(pid)) == name
