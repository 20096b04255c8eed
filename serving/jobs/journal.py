"""A chunk that has killed its workers, done with care: what is at work is written down first.

    leases/00000012.json    {"at": [64, 96], "strikes": {"70": 2}, "split": [[64, 96]]}

Once a chunk has had PATIENCE deaths, it is done batch by batch. A batch during which a worker dies is done picture by
picture from then on, and a picture during which STRIKES workers die is set aside. Its neighbours are classified.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.jobs.chunk import Classifier, Row, Seen, bunch_size, decode, empty_row, infer, repeated
from serving.jobs.folders import Folder
from serving.jobs.walk import Input

PATIENCE = 3  # deaths of workers after which a chunk is suspected
STRIKES = 3  # deaths of workers during one picture after which it is set aside
POISONED = f"poisoned: {STRIKES} workers died of this picture and it was set aside"


class Journal:
    """What was at work when the last worker died, and what is at work now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._strikes: dict[int, int] = {}
        self._split: list[list[int]] = []
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            self._recall(json.loads(path.read_bytes()))

    def classify(
        self, folder: Folder, inputs: list[Input], model: Classifier, progress: Callable[[int], None]
    ) -> list[Row]:
        """The rows of `classify_chunk`, but for those that are set aside."""
        reading = model.reading(folder)
        rows: list[Row] = []
        seen: Seen = {}
        size = bunch_size(model.bunch, model.batch)
        for start, end in self._steps(len(inputs), model.batch):
            if start % size == 0:
                seen = {}
            if end - start == 1 and self._strikes.get(start, 0) >= STRIKES:
                rows.append({**empty_row(inputs[start], reading), "error": POISONED})
                continue
            self._write([start, end])
            rows += infer(decode(inputs[start:end], reading, seen), model)
            progress(len(rows))
        self._write(None)
        return [row for start in range(0, len(rows), size) for row in repeated(rows[start : start + size])]

    def _recall(self, written: dict[str, Any]) -> None:
        self._strikes = {int(place): strikes for place, strikes in written["strikes"].items()}
        self._split = written["split"]
        if written["at"]:
            start, end = written["at"]
            if end - start == 1:
                self._strikes[start] = self._strikes.get(start, 0) + 1
            else:
                self._split.append([start, end])

    def _steps(self, count: int, batch: int) -> list[tuple[int, int]]:
        steps: list[tuple[int, int]] = []
        for start in range(0, count, batch):
            end = min(start + batch, count)
            if [start, end] in self._split:
                steps += [(place, place + 1) for place in range(start, end)]
            else:
                steps.append((start, end))
        return steps

    def _write(self, at: list[int] | None) -> None:
        """Without fsync: it has to outlive this process, not the machine."""
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({"at": at, "strikes": self._strikes, "split": self._split}))
        part.replace(self._path)
