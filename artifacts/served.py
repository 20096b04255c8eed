"""The versions that have answered well: `models/<name>/served.json`, written by servers, the last one first.

When the version in production is damaged, a server that starts finds here which one to answer with instead.
"""

import json
from contextlib import suppress
from pathlib import Path

from artifacts import files

FILE = "served.json"
MOST = 8  # versions


def versions(home: Path) -> list[int]:
    """Those of the model in `home`, the last one first; empty when none is known."""
    with suppress(OSError, ValueError, RecursionError, TypeError, KeyError):
        found = json.loads((home / FILE).read_bytes())["versions"]
        return [version for version in found if type(version) is int]
    return []


def last(home: Path) -> int | None:
    """The last one."""
    return next(iter(versions(home)), None)


def remember(home: Path, version: int) -> None:
    """Note that a version answers. Several who do so at once lose at most each other's.

    Raises:
        OSError: it cannot be written, as where the store may only be read.
    """
    known = versions(home)
    if known[:1] != [version]:
        others = [each for each in known if each != version]
        files.write_json(home / FILE, {"versions": [version, *others][:MOST]})
