"""Parts: the rows of one chunk as a Parquet file. A chunk is done if, and only if, its part exists.

parts/00012/00012345-….parquet    a thousand of them a shelf (`inputs.SHELF`)
"""

import io
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet

from artifacts import files
from serving.jobs.chunk import Row
from serving.jobs.inputs import SHELF

SCHEMA = pa.schema([
    ("path", pa.string()), ("label", pa.string()), ("confidence", pa.float64()), ("top", pa.string()),
    ("width", pa.int32()), ("height", pa.int32()), ("sha256", pa.string()), ("model", pa.string()),
    ("version", pa.int32()), ("error", pa.string()),
])  # fmt: skip
THUMBNAIL = "thumbnail"
PART_SCHEMA = SCHEMA.append(pa.field(THUMBNAIL, pa.binary()))
ERROR = SCHEMA.get_field_index("error")


def write_part(path: Path, rows: list[Row]) -> None:
    """Publish a part: whole, on the disk, and then there."""
    try:
        path.parent.mkdir()
    except FileExistsError:
        pass
    else:
        files.fsync(path.parent.parent)
    out = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows, PART_SCHEMA), out)
    files.write_atomic(path, out.getvalue())


def is_whole(path: Path, rows: int) -> bool:
    """Whether a part is there, with this many rows: one that the disk has damaged is made again."""
    try:
        return bool(pa.parquet.read_metadata(path).num_rows == rows)
    except (OSError, pa.ArrowInvalid):
        return False


def shelves(parts: Path) -> list[Path]:
    """The folders in which parts lie, in order."""
    return sorted(Path(entry.path) for entry in os.scandir(parts) if entry.name.isdigit())


def done(parts: Path, low: int = 0) -> set[int]:
    """Numbers of the chunks that are done, from the shelf of chunk `low` on."""
    return {
        int(entry.name[:8])
        for shelf in shelves(parts) if int(shelf.name) >= low // SHELF
        for entry in os.scandir(shelf) if entry.name[0].isdigit()
    }  # fmt: skip


class Counts(NamedTuple):
    """What a part holds: rows, and how many of them have no label."""

    rows: int
    rejected: int


def counts(path: Path) -> Counts:
    """Of a part that is there, by its footer alone."""
    footer = pa.parquet.read_metadata(path)
    errors = [footer.row_group(group).column(ERROR).statistics for group in range(footer.num_row_groups)]
    return Counts(footer.num_rows, footer.num_rows - sum(each.null_count for each in errors))


def regroup(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` each, whatever chunks they were done in; the last has what is left."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while sum(len(each) for each in held) >= rows:
            joined = pa.concat_tables(held)
            yield joined.slice(0, rows).combine_chunks()
            held = [joined.slice(rows)]
    if left := pa.concat_tables(held):
        yield left.combine_chunks()


def read_parts(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """The tables of parts, one at a time, without the thumbnails."""
    for path in paths:
        yield pa.parquet.ParquetFile(pa.BufferReader(path.read_bytes())).read(SCHEMA.names)


def read_thumbnails(paths: list[Path], places: list[int]) -> dict[int, bytes]:
    """Those that parts hold of some rows, by their places in all the rows of the parts; `places` are sorted."""
    found: dict[int, bytes] = {}
    start = 0
    for path in paths:
        with path.open("rb") as file:
            part = pa.parquet.ParquetFile(file)
            end = start + part.metadata.num_rows
            wanted = places[bisect_left(places, start) : bisect_left(places, end)]
            if wanted and THUMBNAIL in part.schema_arrow.names:
                column = part.read([THUMBNAIL]).column(0)
                each = ((place, column[place - start].as_py()) for place in wanted)
                found.update((place, data) for place, data in each if data)
        start = end
    return found
