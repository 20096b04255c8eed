"""How the command speaks: results on standard output, notes on standard error."""

import json
import sys
from collections.abc import Iterable
from typing import Any


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """One document on one line."""
    print(json.dumps(value, ensure_ascii=False))


def print_table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """Columns as wide as their widest cell."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_note(text: str) -> None:
    """A line that is no result."""
    print(text, file=sys.stderr, flush=True)
