"""A page to look at: the pictures by label, the least certain first, and what was refused.

It shows a bounded number of pictures of a job of any size, the least certain of each label; the table has them all. The
page draws what is in view alone, so it is as quick with all of them as with a few.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from serving.jobs.chunk import Reading, Row
from serving.jobs.parts import read_thumbnails
from serving.jobs.thumbnails import Thumbnails, Wanted, is_shown_small

PICTURES = 10_000  # shared among the labels: some 15 MB
SPARE = 2  # times as many are held before those are left out that are not shown
REJECTS = 1_000
TEMPLATE = Path(__file__).with_name("contact_sheet.html")


class _Picture(NamedTuple):
    confidence: float
    place: int  # in the table: of equals the first comes first
    path: str
    large: bool


class ContactSheet:
    """Gathers rows; keeps the least certain ones of each label."""

    def __init__(self, most: int = PICTURES) -> None:
        self._most = self._level = most
        self._worst: dict[str, float] = {}  # of each label that is full, the most certain picture that is kept
        self._labels: dict[str, list[_Picture]] = {}
        self._held = 0
        self._rejects: list[tuple[str, str]] = []
        self._seen = 0

    def add(self, row: Row) -> None:
        """Take a row into account."""
        place, self._seen = self._seen, self._seen + 1
        if row["error"]:
            if len(self._rejects) < REJECTS:
                self._rejects.append((row["path"], row["error"].partition(": ")[2]))
            return
        if row["confidence"] >= self._worst.get(row["label"], math.inf):
            return
        picture = _Picture(row["confidence"], place, row["path"], is_shown_small(row))
        self._labels.setdefault(row["label"], []).append(picture)
        self._held += 1
        if self._held >= SPARE * self._most:
            self._leave_out()

    def render(self, reading: Reading, parts: list[Path], model: dict[str, Any], tally: dict[str, Any]) -> str:
        """The page, self-contained. What the parts have no thumbnail of is read from its folder again."""
        self._leave_out()
        places = sorted(each.place for pictures in self._labels.values() for each in pictures if each.large)
        thumbnails, made = Thumbnails(reading), read_thumbnails(parts, places)
        groups = [self._group(label, count, thumbnails, made) for label, count in tally["labels"].items()]
        data = {"groups": groups, "starts": thumbnails.starts(), "rejects": self._rejects}
        template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return template.render(
            folder=reading.folder.name, model=model, tally=tally, groups=groups, rejects=len(self._rejects), data=text
        )

    def _leave_out(self) -> None:
        """Sort, and keep the least certain: of all labels as many, but for those that have fewer."""
        level = _level([len(pictures) for pictures in self._labels.values()], self._most)
        self._level = min(self._level, level)  # what was left out before would have counted, too
        self._labels = {label: sorted(pictures)[: self._level] for label, pictures in self._labels.items()}
        full = (pictures for pictures in self._labels.items() if len(pictures[1]) == self._level)
        self._worst = {label: pictures[-1].confidence for label, pictures in full}
        self._held = sum(map(len, self._labels.values()))

    def _group(self, label: str, count: int, thumbnails: Thumbnails, made: dict[int, bytes]) -> dict[str, Any]:
        pictures = self._labels[label]
        wanted = [Wanted(each.path, each.large, made.get(each.place)) for each in pictures]
        return {
            "label": label,
            "count": count,
            "paths": [each.path for each in pictures],
            "confidences": [each.confidence for each in pictures],
            "pictures": list(thumbnails.make(wanted)),
        }


def _level(counts: list[int], most: int) -> int:
    """How many each may keep, so that together they keep at most `most`; at least one each."""
    left = most
    for place, count in enumerate(sorted(counts)):
        share = left // (len(counts) - place)
        if count > share:
            return max(1, share)
        left -= count
    return most
