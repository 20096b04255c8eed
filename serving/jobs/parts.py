"""Parts: the rows of one chunk as a Parquet file. A chunk is done if, and only if, its part exists."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from artifacts import files
from serving.jobs.chunk import Row

SCHEMA = pa.schema([
    ("path", pa.string()), ("label", pa.string()), ("confidence", pa.float64()), ("top", pa.string()),
    ("width", pa.int32()), ("height", pa.int32()), ("sha256", pa.string()), ("model", pa.string()),
    ("version", pa.int32()), ("error", pa.string()),
])  # fmt: skip


def write_part(path: Path, rows: list[Row]) -> None:
    """Publish a part: whole, on the disk, and then there."""
    out = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(rows, SCHEMA), out)
    files.write_atomic(path, out.getvalue())


def is_whole(path: Path, rows: int) -> bool:
    """Whether a part is there, with this many rows: one that the disk has damaged is made again."""
    try:
        return bool(pa.parquet.read_metadata(path).num_rows == rows)
    except (OSError, pa.ArrowInvalid):
        return False


def read_parts(paths: list[Path]) -> Iterator[pa.Table]:
    """The tables of parts, one at a time."""
    for path in paths:
        yield pa.parquet.ParquetFile(pa.BufferReader(path.read_bytes())).read()
