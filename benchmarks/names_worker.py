"""`tintype worker` for a folder of FILES files that only have names; each is answered at once, with what its name says.

    FILES=10000000 python -m benchmarks.names_worker ARGUMENTS…

What is left is what a job costs beside reading, decoding and the model: listing, chunks, leases, parts, results.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import tintype
from serving.jobs import walk, work
from serving.jobs.chunk import Classifier, Row, empty_row
from serving.jobs.folders import Folder
from serving.jobs.walk import Input

FILES = int(os.environ["FILES"])
STRIDE = 7_368_787  # a prime: the names come in an order that has to be sorted
BYTES = 1300  # of a file
TOP = '[{"label": "%s", "confidence": %s}, {"label": "%s", "confidence": 0.000001}]'


def names(_: str, __: object) -> Iterator[bytes]:
    """As `os.scandir` would give them, each with its kind."""
    return (b"%010d.jpg\0o" % (number * STRIDE % FILES) for number in range(FILES))


def noted(entry: Any, root: str) -> Input:  # noqa: ANN401 - an entry of the walk
    """As `os.stat` would have it."""
    return Input(entry.path[len(root) :], BYTES, 1_700_000_000_000_000_000)


def answered(
    folder: Folder, inputs: list[Input], model: Classifier, _: object, progress: Callable[[int], None]
) -> list[Row]:
    """A row for each."""
    reading, labels = model.reading(folder), model.bundle.labels
    rows = [row(each, empty_row(each, reading), labels) for each in inputs]
    progress(len(rows))
    return rows


def row(listed: Input, empty: Row, labels: list[str]) -> Row:
    """Of a name."""
    digest = hashlib.sha256(listed.path.encode())
    label, confidence = labels[digest.digest()[0] % len(labels)], digest.digest()[1] / 256
    top = TOP % (label, confidence, labels[0])
    known = {"label": label, "confidence": confidence, "top": top, "width": 32, "height": 32}
    return {**empty, **known, "sha256": digest.hexdigest()}


walk._names, walk._input, work.classify_ahead = names, noted, answered  # noqa: SLF001 - what the disk and the model do
if __name__ == "__main__":
    sys.exit(tintype.main(["worker", *sys.argv[1:]]))
