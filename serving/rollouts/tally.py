"""What one process counts in a rollout, and the sum of what all have counted."""

import json
import math
import os
import secrets
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEP = math.log(1.1)  # a bucket of seconds is a tenth wider than the one before
MOST_PAIRS = 50  # kinds of disagreement that are told apart


@dataclass
class Tally:
    """Counts; added to by several threads, which may lose one now and then."""

    requests: int = 0  # that the version was to answer
    failed: int = 0  # of those: production answered instead
    compared: int = 0  # pictures that both were asked about
    disagreed: int = 0  # of those: to which they gave different labels
    errors: int = 0  # pictures that production answered and the version did not
    refused: str = ""  # why the version cannot be loaded
    candidate: Counter[str] = field(default_factory=Counter)  # buckets of seconds
    production: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)  # "cat → dog": how often

    def compare(self, of_production: str, of_candidate: str) -> None:
        """Count the labels that both gave to a picture."""
        self.compared += 1
        if of_production != of_candidate:
            self.disagreed += 1
            pair = f"{of_production} → {of_candidate}"
            if pair in self.pairs or len(self.pairs) < MOST_PAIRS:
                self.pairs[pair] += 1

    def add(self, other: "Tally") -> None:
        """Take in what another process has counted."""
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            elif name == "refused":
                self.refused = self.refused or value
            else:
                setattr(self, name, getattr(self, name) + value)

    def told(self) -> dict[str, Any]:
        """As a report has it."""
        return {
            "requests": self.requests,
            "failed": self.failed + self.errors,
            "compared": self.compared,
            "disagreed": self.disagreed,
            "disagreement": round(self.disagreed / self.compared, 4) if self.compared else None,
            "p95_ms": milliseconds(p95(self.candidate)),
            "production_p95_ms": milliseconds(p95(self.production)),
            "disagreements": dict(self.pairs.most_common()),
        }


class Counted:
    """The counts of this process, as the others read them."""

    def __init__(self, folder: Path) -> None:
        self.tally = Tally()
        self._path = folder / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.json"
        self._written = ""

    def publish(self) -> None:
        """Write them down if they have changed; not to the disk: a machine that dies may lose them.

        Raises:
            OSError: they cannot be written.
        """
        text = json.dumps(vars(self.tally))
        if text != self._written:
            part = self._path.with_suffix(".part")
            part.write_text(text)
            part.replace(self._path)
            self._written = text


def summed(folder: Path) -> Tally:
    """What all processes have counted, the dead among them."""
    total = Tally()
    for path in folder.glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(path.read_bytes())
            for name in ("candidate", "production", "pairs"):
                found[name] = Counter(found[name])
            total.add(Tally(**found))
    return total


def bucket(seconds: float) -> str:
    """The bucket of a time."""
    return str(math.ceil(math.log(max(seconds, 1e-6)) / STEP))


def above(buckets: Counter[str], seconds: float) -> int:
    """How many are surely longer than so many seconds."""
    least = math.ceil(math.log(max(seconds, 1e-6)) / STEP)
    return sum(count for number, count in buckets.items() if int(number) > least)


def p95(buckets: Counter[str]) -> float | None:
    """Seconds that 95 % are not above, to a tenth; None of none."""
    wanted, seen = 0.95 * buckets.total(), 0
    for number in sorted(buckets, key=int):
        seen += buckets[number]
        if seen >= wanted:
            return math.exp(int(number) * STEP)
    return None


def milliseconds(seconds: float | None) -> float | None:
    """For a person."""
    return None if seconds is None else round(1000 * seconds, 2)
