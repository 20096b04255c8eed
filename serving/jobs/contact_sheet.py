"""A page to look at: the pictures by label, the least certain first, and what was refused.

It shows a bounded number of pictures of a job of any size; the table has them all.
"""

import base64
import heapq
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2

from artifacts import pixels
from artifacts.errors import BadPicture
from serving.jobs.chunk import Row
from serving.jobs.folders import Folder, read

PICTURES = 480  # shared among the labels: some 2 MB, and as many to decode again
SMALL_PICTURES = 2_000  # likewise, of those that are shown as they are
SMALL_PIXELS = 128 * 128
LEAST = 4  # of each label, however many there are
SIDE = 96  # pixels
AS_IT_IS = 4_000  # bytes: a JPEG under this size is not worth making smaller
REJECTS = 100
TEMPLATE = Path(__file__).with_name("contact_sheet.html")


class ContactSheet:
    """Gathers rows; keeps the least certain ones of each label."""

    def __init__(self, classes: int, max_pixels: int = pixels.MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self._shares = {
            small: max(LEAST, most // classes) for small, most in ((True, SMALL_PICTURES), (False, PICTURES))
        }
        # By label, and by whether they are small.
        self._labels: dict[str, dict[bool, list[tuple[float, int, str]]]] = {}
        self._rejects: list[tuple[str, str]] = []
        self._seen = 0

    def add(self, row: Row) -> None:
        """Take a row into account."""
        self._seen += 1
        if row["error"]:
            if len(self._rejects) < REJECTS:
                self._rejects.append((row["path"], row["error"].partition(": ")[2]))
            return
        small = (row["width"] or SMALL_PIXELS) * (row["height"] or SMALL_PIXELS) <= SMALL_PIXELS
        kept = self._labels.setdefault(row["label"], {True: [], False: []})[small]
        item = (-row["confidence"], -self._seen, row["path"])  # a heap's first is its smallest: the most certain
        if len(kept) < self._shares[small]:
            heapq.heappush(kept, item)
        else:
            heapq.heappushpop(kept, item)

    def render(self, folder: Folder, model: dict[str, Any], tally: dict[str, Any]) -> str:
        """The page, self-contained; the pictures are read from `folder` again."""
        groups = [
            {"label": label, "count": count, "pictures": self._pictures(folder, label)}
            for label, count in tally["labels"].items()
        ]
        template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
        return template.render(folder=folder.name, model=model, tally=tally, groups=groups, rejects=self._rejects)

    def _pictures(self, folder: Folder, label: str) -> list[dict[str, Any]]:
        least_certain = sorted(chain(*self._labels[label].values()), reverse=True)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # Pillow decodes outside Python's lock
            sources = pool.map(lambda item: _source(folder, item[2], self._max_pixels), least_certain)
            return [
                {"path": path, "confidence": -negative, "source": source}
                for (negative, _, path), source in zip(least_certain, sources, strict=True)
            ]


def _source(folder: Folder, path: str, max_pixels: int) -> str | None:
    """A data URL of a small copy of a picture; None when it is gone meanwhile."""
    try:
        data = read(folder, path)
        if len(data) > AS_IT_IS or not data.startswith(b"\xff\xd8"):
            data = pixels.thumbnail(data, SIDE, max_pixels)
    except (OSError, BadPicture):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
