"""Which of the classes that there are take part."""

import difflib
from collections.abc import Iterable

from artifacts.errors import WrongUse

SHOWN = 20


def choose(known: list[str], wanted: Iterable[str] | None, source: str) -> list[str]:
    """`wanted`, in its own order; without it, all of `known`.

    Raises:
        WrongUse: `source` has no such labels; the nearest one of each is named.
    """
    if wanted is None:
        return known
    chosen = list(wanted)
    there = set(known)
    missing = [_missing(label, known) for label in chosen if label not in there]
    if missing:
        noun = "label" if len(missing) == 1 else "labels"
        raise WrongUse(f"{source} has no {noun} {', '.join(missing)}; its labels are {few(known)}")
    return chosen


def few(names: Iterable[str]) -> str:
    """`a, b, c`; beyond SHOWN only how many more there are."""
    every = list(names)
    more = f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def _missing(label: str, known: list[str]) -> str:
    near = difflib.get_close_matches(label, known, n=1)
    return f"{label!r} (did you mean {near[0]!r}?)" if near else repr(label)
