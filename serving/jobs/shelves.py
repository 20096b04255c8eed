"""How many rows a job has, and how many of late, without a look at every part each time.

    parts/00012.json    what was counted on the shelf 00012: it holds for as long as nothing on it has changed

Shelves fill one after another, so only the last ones are looked at part by part.
"""

import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from artifacts import files
from serving.jobs.parts import Counts, counts, shelves

QUIET_SECONDS = 5.0  # without a change after which a shelf is counted for good: times on a disk are coarse


class Count(NamedTuple):
    """Rows of a job."""

    rows: int
    rejected: int  # of these, without a label
    recent: int  # of these, of late


def count(parts: Path, since: float) -> Count:
    """Rows that are done; `recent` are those of parts that were published after `since`, in the file system's time."""
    rows = rejected = recent = 0
    for shelf in shelves(parts):
        found = shelf.stat()
        if found.st_mtime < since - QUIET_SECONDS:
            settled = _settled(str(shelf), found.st_mtime_ns)
            rows, rejected = rows + settled.rows, rejected + settled.rejected
            continue
        for part, written in _parts(shelf):
            new = _counts(part, written)
            rows, rejected = rows + new.rows, rejected + new.rejected
            recent += new.rows if written >= since * 1e9 else 0
    return Count(rows, rejected, recent)


def _parts(shelf: Path) -> list[tuple[str, int]]:
    """Paths, and when they were published, in nanoseconds."""
    return [(entry.path, entry.stat().st_mtime_ns) for entry in os.scandir(shelf) if entry.name[0].isdigit()]


@lru_cache(maxsize=10_000)
def _counts(part: str, _written: int) -> Counts:
    return counts(Path(part))


@lru_cache(maxsize=10_000)
def _settled(shelf: str, changed: int) -> Counts:
    """Of a shelf that has not changed since: as it was noted down, or counted and noted down."""
    note = Path(f"{shelf}.json")
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        noted = json.loads(note.read_bytes())
        if noted.pop("changed") == changed:
            return Counts(**noted)
    found = [counts(Path(part)) for part, _ in _parts(Path(shelf))]
    total = Counts(sum(each.rows for each in found), sum(each.rejected for each in found))
    with suppress(OSError):  # it is counted again
        files.write_atomic(note, json.dumps({"changed": changed, **total._asdict()}))
    return total
