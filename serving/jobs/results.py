"""Parts -> the job's results: one pass over the rows, one part in memory at a time.

Every file is written beside its name and renamed, and holds nothing that differs between two runs (no time, no rate),
so a resumed job's results equal an unbroken one's byte for byte. `summary.json` comes last: with it a job is finished.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson
import pyarrow.parquet

from artifacts import files
from serving.jobs.chunk import Reading, Row
from serving.jobs.contact_sheet import ContactSheet
from serving.jobs.folders import address
from serving.jobs.parts import SCHEMA, read_parts, regroup
from serving.jobs.tally import Tally

GROUP = 8192  # rows of a group in results.parquet: the same bytes, whatever chunks they were done in
Seen = tuple[Callable[[Row], None], ...]  # what wants to see each row
REJECT_COLUMNS = ("path", "code", "reason")


def write_results(  # noqa: PLR0913, PLR0917 - what they are made of, and who wants to know
    job: Path,
    reading: Reading,
    parts: Iterable[Path],
    model: dict[str, Any],
    truths: Iterator[str] | None = None,
    hidden: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write results.csv, .parquet and .jsonl, rejects.csv, contact_sheet.html and summary.json into `job`.

    `parts` come in order, and may come while others are still being made. `truths` has, for each row, the label that it
    should have, or nothing where that is not known. `hidden`: files and folders that were passed over, and have no row.
    `progress` is told now and then how many rows are written, and may raise to stop.

    All are written first and then take their names, summary.json last; it is gone while they do, so that nobody takes
    an old summary and a new table for one job's.
    """
    tally, sheet = Tally(), ContactSheet()
    with (
        _replaced(job / "summary.json") as summary_file,
        _replaced(job / "contact_sheet.html") as sheet_file,
        _replaced(job / "results.csv") as results_file,
        _replaced(job / "rejects.csv") as rejects_file,
        _replaced(job / "results.jsonl", "wb") as lines_file,
        _replaced(job / "results.parquet", "wb") as parquet_file,
    ):
        to = _Tables(results_file, rejects_file, lines_file, parquet_file)
        seen = (sheet.add, lambda row: tally.add(row, next(truths) if truths else ""))
        came: list[Path] = []
        for rows in _write_tables(_kept(parts, came), to, seen):
            progress(rows)
        sheet_file.write(sheet.render(reading, came, model, tally.to_json()))
        summary = {"folder": address(reading.folder), "model": model, **tally.to_json(), "hidden": hidden}
        summary_file.write(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        (job / "summary.json").unlink(missing_ok=True)


class _Tables(NamedTuple):
    results: IO[str]
    rejects: IO[str]
    lines: IO[bytes]
    parquet: IO[bytes]


def _kept(parts: Iterable[Path], came: list[Path]) -> Iterator[Path]:
    for part in parts:
        came.append(part)
        yield part


def _write_tables(parts: Iterable[Path], to: _Tables, seen: Seen) -> Iterator[int]:
    """Yields after each group of rows how many there are so far."""
    written = 0
    results, rejects = csv.writer(to.results), csv.DictWriter(to.rejects, REJECT_COLUMNS)
    results.writerow(SCHEMA.names)
    rejects.writeheader()
    with pyarrow.parquet.ParquetWriter(to.parquet, SCHEMA) as parquet:
        for table in regroup(read_parts(parts), GROUP):
            parquet.write_table(table)
            rows = table.to_pylist()
            results.writerows(row.values() for row in rows)
            to.lines.writelines(map(_line, rows))
            for row in rows:
                for see in seen:
                    see(row)
                if row["error"]:
                    rejects.writerow(_reject(row))
            written += len(rows)
            yield written


def _line(row: Row) -> bytes:
    """A row as a line of JSON, the most likely labels in it as they are and not as text."""
    top = row["top"] and orjson.Fragment(row["top"])
    return orjson.dumps({**row, "top": top}, option=orjson.OPT_APPEND_NEWLINE)


def _reject(row: Row) -> dict[str, str]:
    code, _, reason = row["error"].partition(": ")
    return {"path": row["path"], "code": code, "reason": reason}


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
