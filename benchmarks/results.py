"""The accuracy of every preset that a CPU can train, beside the published one: docs/results.md.

python -m benchmarks.results --mnist DIR --cifar10 DIR --cats-dogs DIR [--only mlp-32 cnn …]

Trains each row anew and writes the table. A row that is not asked for, or whose pictures are not given, stays as it was
last measured: docs/results.json keeps the figures.
"""

import argparse
import json
import os
import platform
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import files
from artifacts.run import Run
from training.run import train

FOLDER = Path(__file__).parents[1] / "docs"
JSON, PAGE = FOLDER / "results.json", FOLDER / "results.md"


class Row(NamedTuple):
    """One training: the preset on `data` (one of the folders given), with `changes`, and what was published."""

    preset: str
    data: str
    published: str
    changes: dict[str, str] = {}  # noqa: RUF012 - never changed
    split: str = "test"

    @property
    def key(self) -> str:
        """`cnn-stride2-bn epochs=1`."""
        return " ".join([self.preset, *(f"{key}={value}" for key, value in self.changes.items())])


ROWS = (
    Row("mlp-32", "mnist", "0.9639"),
    Row("mlp-512", "mnist", "0.9785"),
    Row("mlp-256-128", "mnist", "none given; about 0.98"),
    Row("cnn-small", "mnist", "0.9931"),
    Row("cnn", "mnist", "0.993 to 0.994"),
    Row("y-network", "mnist", "0.994 to 0.995"),
    Row("cnn-stride2", "mnist", "0.1135: fails to train"),
    Row("cnn-stride2-1cycle", "mnist", "0.9743"),
    Row("cnn-stride2-bn", "mnist", "0.9864", {"epochs": "1", "learning_rate": "0.06"}),
    Row("cnn-stride2-bn", "mnist", "0.9921"),
    Row("threes-sevens", "mnist", "0.990"),
    Row("digits", "digits", "none"),
    Row("crosses-noughts", "crosses_noughts", "none"),
    Row("cats-dogs", "cats-dogs", "validation about 0.72, overfits", {"augment": "none", "epochs": "20"}, "validation"),
    Row("cats-dogs", "cats-dogs", "validation about 0.82 in 100 epochs", {}, "validation"),
    Row("resnet20v1-fast", "cifar10", "0.9216 (textbook, lossless pictures, 200 epochs)"),
)


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mnist", "cifar10", "cats-dogs"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR")
    parser.add_argument("--only", nargs="*", metavar="PRESET", help="rows of these presets")
    parser.add_argument("--runs", type=Path, help="keep the runs, with their reports, in this folder")
    arguments = vars(parser.parse_args())
    measured: dict[str, Any] = json.loads(JSON.read_bytes()) if JSON.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for row in ROWS:
            wanted = not arguments["only"] or row.preset in arguments["only"]
            given = arguments.get(row.data.replace("-", "_"))
            if wanted and (given or row.data in ("digits", "crosses_noughts")):
                measured[row.key] = _measure(row, given, arguments["runs"] or Path(scratch))
                files.write_json(JSON, measured)
                files.write_atomic(PAGE, page(measured))


def page(measured: dict[str, Any]) -> str:
    """docs/results.md."""
    lines = [
        "# Measured accuracies",
        "",
        "Made by `make results MNIST=DIR CIFAR10=DIR CATS_DOGS=DIR`, which trains every row anew (`ARGS='--only cnn'`:",
        "some rows); what is not given stays as it was last measured. Accuracy on the test pictures unless a row says",
        "otherwise, of the epoch that was best on validation.",
        "",
        "| preset | data | epochs | measured | published | seconds | machine, date |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        if row.key in measured:
            it = measured[row.key]
            accuracy = f"{it['accuracy']:.4f}" + (" (validation)" if row.split == "validation" else "")
            where = f"{it['machine']}, {it['date']}"
            seconds = f"{it['seconds']:.0f}"
            shown = (f"`{row.key}`", it["data"], str(it["epochs"]), accuracy, row.published, seconds, where)
            lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def _measure(row: Row, folder: Path | None, runs: Path) -> dict[str, Any]:
    named = row.data in ("mnist", "digits", "crosses_noughts")
    run = train(
        row.data if named else str(folder),
        row.preset,
        runs=runs,
        cache=runs / "cache",
        data_dir=folder if row.data == "mnist" else None,
        overrides=row.changes,
    )
    environment = json.loads((run.path / "environment.json").read_bytes())
    return {
        "data": _described(run, row.data),
        "epochs": run.config()["epochs"],
        "accuracy": run.metrics()[row.split]["accuracy"],
        "seconds": environment["training_seconds"],
        "machine": f"{os.cpu_count()} cores {_processor()}, Keras {environment['keras']} on {environment['backend']}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _described(run: Run, data: str) -> str:
    """`cifar10 (JPEG), 48,000 trained on`."""
    record = json.loads((run.path / "split.json").read_bytes())
    suffixes = {Path(entry["file"]).suffix.lstrip(".").upper() for entry in record["train"][:100]}
    kind = f" ({', '.join(sorted(suffixes))})" if suffixes <= {"JPG", "PNG"} else ""
    return f"{data}{kind}, {len(record['train']):,} trained on"


def _processor() -> str:
    told = Path("/proc/cpuinfo")  # Linux
    found = re.search(r"model name\s*: (.*)", told.read_text()) if told.exists() else None
    return found.group(1) if found else platform.machine()


if __name__ == "__main__":
    main()
