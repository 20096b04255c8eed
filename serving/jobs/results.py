"""Parts -> the job's results: one pass over the rows, one part in memory at a time.

Every file is written beside its name and renamed, and holds nothing that differs between two runs (no time, no rate),
so a resumed job's results equal an unbroken one's byte for byte. `summary.json` comes last: with it a job is finished.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet

from artifacts import files
from serving.jobs.chunk import Row
from serving.jobs.contact_sheet import ContactSheet
from serving.jobs.parts import SCHEMA, read_parts

BINS = 10  # of the confidence histogram, each 0.1 wide
NEEDED = ["path", "label", "confidence", "error"]  # of a row, to count and show it
Seen = tuple[Callable[[Row], None], ...]  # what wants to see each row
REJECT_COLUMNS = ("path", "code", "reason")


def write_results(job: Path, folder: Path, parts: list[Path], model: dict[str, Any], classes: int) -> None:
    """Write results.csv, results.parquet, rejects.csv, contact_sheet.html and summary.json into `job`.

    All are written first and then take their names, summary.json last; it is gone while they do, so that nobody takes
    an old summary and a new table for one job's.
    """
    tally, sheet = _Tally(), ContactSheet(classes)
    with (
        _replaced(job / "summary.json") as summary_file,
        _replaced(job / "contact_sheet.html") as sheet_file,
        _replaced(job / "results.csv") as results_file,
        _replaced(job / "rejects.csv") as rejects_file,
        _replaced(job / "results.parquet", "wb") as parquet_file,
    ):
        _write_tables(parts, results_file, rejects_file, parquet_file, (tally.add, sheet.add))
        sheet_file.write(sheet.render(folder, model, tally.to_json()))
        summary = {"folder": str(folder.resolve()), "model": model, **tally.to_json()}
        summary_file.write(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        (job / "summary.json").unlink(missing_ok=True)


def _write_tables(
    parts: list[Path], results_file: IO[str], rejects_file: IO[str], parquet_file: IO[bytes], seen: Seen
) -> None:
    results, rejects = csv.writer(results_file), csv.DictWriter(rejects_file, REJECT_COLUMNS)
    results.writerow(SCHEMA.names)
    rejects.writeheader()
    with pyarrow.parquet.ParquetWriter(parquet_file, SCHEMA) as parquet:
        for table in read_parts(parts):
            parquet.write_table(table)
            results.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
            for row in table.select(NEEDED).to_pylist():
                for see in seen:
                    see(row)
                if row["error"]:
                    rejects.writerow(_reject(row))


def _reject(row: Row) -> dict[str, str]:
    code, _, reason = row["error"].partition(": ")
    return {"path": row["path"], "code": code, "reason": reason}


class _Tally:
    """Counts over all rows."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._confidences = [0] * BINS

    def add(self, row: Row) -> None:
        if row["error"]:
            self._reasons[row["error"].partition(": ")[0]] += 1
        else:
            self._labels[row["label"]] += 1
            self._confidences[min(int(row["confidence"] * BINS), BINS - 1)] += 1

    def to_json(self) -> dict[str, Any]:
        classified, rejected = self._labels.total(), self._reasons.total()
        return {
            "total": classified + rejected,
            "classified": classified,
            "rejected": rejected,
            "labels": dict(sorted(self._labels.items(), key=lambda item: (-item[1], item[0]))),
            "reject_reasons": dict(sorted(self._reasons.items())),
            "confidence_histogram": self._confidences,
        }


@contextmanager
def _replaced(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write at length that takes its name when it is whole and on the disk."""
    part = path.with_name(f".{path.name}.part")
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with part.open(mode, **text) as file:  # type: ignore[call-overload]
        yield file
        file.flush()
        files.fsync(part)
    part.replace(path)
    files.fsync(path.parent)
