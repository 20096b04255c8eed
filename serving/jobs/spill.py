"""Names in byte order, however many: those that are too many for memory are sorted in runs on the disk and merged."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

RUN = 250_000  # names that are held in memory: some 25 MB
FAN_IN = 256  # runs that are merged at a time: each is an open file
BLOCK = 1 << 16  # bytes that are read of a run at a time
END = b"/"  # no name on the disk has one


def in_order(names: Iterable[bytes], room: Path) -> Iterator[bytes]:
    """The names, sorted; files without a name in the folder `room` hold what memory does not.

    Raises:
        OSError: there is no room.
    """
    each = iter(names)
    runs: list[IO[bytes]] = []
    try:
        while run := sorted(islice(each, RUN)):
            if len(run) < RUN and not runs:
                yield from run
                return
            runs.append(_spilled(run, room))
            if len(runs) == FAN_IN:
                merged = _spilled(heapq.merge(*map(_read, runs)), room)
                _close(runs)
                runs = [merged]
        yield from heapq.merge(*map(_read, runs))
    finally:
        _close(runs)


def _spilled(names: Iterable[bytes], room: Path) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=room)  # noqa: SIM115 - the caller closes it
    file.writelines(name + END for name in names)
    file.flush()
    return file


def _read(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    left = b""
    while block := file.read(BLOCK):
        *names, left = (left + block).split(END)
        yield from names


def _close(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()
