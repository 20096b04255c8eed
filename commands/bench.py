"""bench: a load test of a server."""

import argparse
import errno
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from artifacts import files
from artifacts.errors import TintypeError, WrongUse
from artifacts.settings import Settings
from artifacts.store import parse
from commands import Add
from commands.keys import add_key_file, key_for
from printing import print_json, print_note, print_table

if TYPE_CHECKING:
    from serving.bench.bench import Watch
    from serving.bench.report import Report

PAGE = Path("bench.html")
MOST_CONNECTIONS = 10_000
LEAST_SECONDS = 0.1
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


def add_to(add: Add) -> None:
    """Add the command of this file."""
    bench = add("bench", _bench, "load a server with pictures, and measure how many it answers and how fast")
    bench.add_argument("url", metavar="URL", help="of a `tintype serve`, for example http://127.0.0.1:8000")
    bench.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="pictures, or folders of them")
    clients = "comma-separated; clients at a time, each of which waits for its answer (default: 1,8,32)"
    bench.add_argument("--connections", type=_connections, default=[1, 8, 32], metavar="LIST", help=clients)
    bench.add_argument("--seconds", type=_seconds, default=10, help="of each number of connections (default: 10)")
    bench.add_argument("--pictures", type=_whole, default=1, metavar="N", help="in each request (default: 1)")
    bench.add_argument("--model", metavar="NAME[@VERSION]", help="default: the server's only model in production")
    bench.add_argument("--top-k", type=_whole, metavar="N", help="labels in an answer (default: the server's)")
    bench.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="to be sent along")
    add_key_file(bench)
    bench.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help=f"page with the plot (default: {PAGE})")


def _bench(arguments: argparse.Namespace, settings: Settings) -> None:
    from serving.bench import page, report, target
    from serving.bench.bench import Plan, measure, prepare
    from serving.bench.load import WARM_SECONDS

    _check_writable(arguments.out)
    model = parse(arguments.model) if arguments.model else None
    server = target.parse(arguments.url, model, arguments.top_k, arguments.header, key_for(arguments, settings))
    plan = Plan(arguments.connections, arguments.seconds, arguments.pictures)
    prepared = prepare(server, arguments.images, plan, settings.max_pixels)
    print_note(report.introduction(prepared.report))
    total = len(plan.connections) * (WARM_SECONDS + plan.seconds)
    with _interruptible() as interrupted, _bar(total) as advance:
        measured = measure(prepared, lambda *now: advance(*now) and not interrupted())
    if measured["levels"]:
        files.write_atomic(arguments.out, page.render(measured))
        _print(measured, arguments)
    if interrupted():
        raise KeyboardInterrupt
    if not any(level["ok"] for level in measured["levels"]):
        raise TintypeError("no request succeeded; the table says what happened instead")


def _print(measured: "Report", arguments: argparse.Namespace) -> None:
    from serving.bench import report

    if arguments.json:
        print_json({**measured, "page": str(arguments.out)})
        return
    print_table(*report.columns(measured))
    for sentence in (report.verdict(measured), *report.findings(measured)):
        print(sentence)
    print(arguments.out)


@contextmanager
def _bar(total: float) -> "Iterator[Watch]":
    """A progress bar of seconds, and what moves it."""
    with tqdm(desc="bench", total=total, bar_format=BAR, dynamic_ncols=True) as bar:

        def advance(connections: int, seconds: float, rate: float) -> bool:
            if seconds:
                clients = f"{connections:,} connection{'' if connections == 1 else 's'}"
                bar.set_postfix_str(f"{clients}, {rate:,.0f} requests/s", refresh=False)
                bar.update(min(seconds, total - bar.n))
            return True

        yield advance


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: what has been measured is still printed. A second one ends the command at once."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _check_writable(out: Path) -> None:
    """See before the load, and not after it, that the page can be kept."""
    try:
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise WrongUse(f"cannot write {out}: {error.strerror}; choose another --out") from None


def _connections(text: str) -> list[int]:
    """`1,8,32` as numbers."""
    counts = [int(word) for word in text.split(",") if re.fullmatch(" *[0-9]{1,5} *", word)]
    if len(counts) != text.count(",") + 1 or not all(1 <= count <= MOST_CONNECTIONS for count in counts):
        raise argparse.ArgumentTypeError(f"must be whole numbers from 1 to {MOST_CONNECTIONS:,}; received {text!r}")
    return list(dict.fromkeys(counts))


def _whole(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; received {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]+)?", text) or float(text) < LEAST_SECONDS:
        raise argparse.ArgumentTypeError(f"must be at least {LEAST_SECONDS} and under 100,000; received {text!r}")
    return float(text)
