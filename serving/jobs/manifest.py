"""A manifest: a table of files, and perhaps of what is on them, in place of a folder's own listing.

    path,label            or JSONL, a line each:   {"path": "cats/1.jpg", "label": "cat"}
    cats/1.jpg,cat

Paths are relative to the manifest's own folder, and must stay inside it. Where that is in the cloud, they may also be
whole addresses.
"""

import csv
import json
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from artifacts.errors import WrongUse
from serving.jobs.folders import Folder
from serving.jobs.walk import Input

MANIFESTS = (".csv", ".jsonl")


def read_manifest(path: Path, folder: Folder, skip: int) -> Iterator[Input]:
    """The inputs of a manifest in its order, but for the first `skip`.

    Raises:
        WrongUse: it has no path in a line, or cannot be read as text.
        NotNow: the folder is out of reach.
    """
    entries = _entries(path, skip)
    return _look(entries, folder) if isinstance(folder, Path) else folder.look(entries)


def _entries(path: Path, skip: int) -> Iterator[tuple[str, str]]:
    """Paths and labels."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
            rows = csv.DictReader(lines) if path.suffix == ".csv" else map(json.loads, filter(str.strip, lines))
            for number, row in islice(enumerate(rows, start=1), skip, None):
                if not isinstance(row, dict) or not isinstance(row.get("path"), str) or not row["path"]:
                    raise WrongUse(f"entry {number} of the manifest has no path; give each a path, and a label or none")
                yield row["path"], str(row.get("label") or "")
    except (ValueError, csv.Error) as error:
        raise WrongUse(f"the manifest cannot be read: {error}") from None


def _look(entries: Iterable[tuple[str, str]], folder: Path) -> Iterator[Input]:
    root = os.path.join(os.path.realpath(folder), "")  # noqa: PTH118 - with a separator at its end, as `/` has
    return (_input(path, truth, root) for path, truth in entries)


def _input(path: str, truth: str, root: str) -> Input:
    place = os.path.realpath(os.path.join(root, path))  # noqa: PTH118 - a Path for each of millions costs more
    try:
        found = os.stat(place)  # noqa: PTH116 - as above
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return Input(path, 0, 0, f"file_unreadable: the file cannot be read ({why})", truth)
    problem = ""
    if not place.startswith(root):
        problem = "outside: the path leads out of the manifest's folder"
    elif not stat.S_ISREG(found.st_mode):
        problem = "not_a_file: this is a folder, a pipe, a socket or a device"
    return Input(path, found.st_size, found.st_mtime_ns, problem, truth)
