"""Who changed what a model's aliases name, and why: `models/<name>/audit.jsonl`, a line for each change, oldest first.

    {"time": "2026-11-22T00:14:03.120Z", "who": "anna@box", "action": "deploy", "alias": "production",
     "from": 2, "to": 3, "why": "more night pictures"}

A line is on the disk before its change is. A kill between the two leaves a line too many, from whose `to` the next one
does not go on; no change is without its line.
"""

import getpass
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import files
from artifacts.errors import WrongUse

FILE = "audit.jsonl"
LONGEST = 1000  # characters of a reason
TAIL_BYTES = 256_000  # that are read for the last lines: some 1,000 of them


class Note(NamedTuple):
    """Who changes something, and why."""

    who: str
    why: str = ""


class Change(NamedTuple):
    """What is done to an alias."""

    action: str  # deploy, rollback, alias, canary, shadow, promote, take back, stop
    alias: str
    note: Note


def here(why: str = "") -> Note:
    """The person who runs this process.

    Raises:
        WrongUse: the reason is too long.
    """
    try:
        person = getpass.getuser()
    except (KeyError, OSError):  # a number that has no name here, as in a container
        person = str(os.getuid())
    return Note(f"{person}@{socket.gethostname()}", checked(why))


def checked(why: str) -> str:
    """The reason, when it can be kept.

    Raises:
        WrongUse: it is too long.
    """
    if len(why) > LONGEST:
        raise WrongUse(f"a reason has at most {LONGEST} characters; received {len(why)}")
    return why


def append(home: Path, change: Change, before: int | None, after: int | None) -> None:
    """Add a line for an alias of the model in `home` that goes from one version to another; under the model's lock."""
    line = {
        "time": now(),
        "who": change.note.who,
        "action": change.action,
        "alias": change.alias,
        "from": before,
        "to": after,
        "why": change.note.why,
    }
    text = json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    with (home / FILE).open("a+b") as file:
        torn = file.seek(0, os.SEEK_END) and _last_byte(file.fileno()) != b"\n"  # by a kill, or a disk that was full
        file.write(b"\n" + text if torn else text)
        file.flush()
        os.fsync(file.fileno())
    files.fsync(home)


def lines(home: Path, most: int) -> list[dict[str, Any]]:
    """The last changes, at most `most`, oldest first; of a line that was torn nothing."""
    try:
        with (home / FILE).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            if size > TAIL_BYTES:
                file.readline()
            found = [_parsed(line) for line in file]
    except FileNotFoundError:
        return []
    return [line for line in found if line][-most:]


def now() -> str:
    """This moment in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _last_byte(handle: int) -> bytes:
    return os.pread(handle, 1, os.fstat(handle).st_size - 1)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
