"""The load test: who answers there, and then one number of connections after the other.

pictures -> requests -> probe -> load -> report, of which a table and a page are made
"""

import resource
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import speed
from artifacts.errors import WrongUse
from serving.bench import load, pictures, probe
from serving.bench.connection import Route
from serving.bench.level import Level
from serving.bench.pictures import Found
from serving.bench.report import Report
from serving.bench.requests import encode, messages
from serving.bench.target import Target

SPARE_FILES = 64  # that the process has open beside its connections
MACHINE = ("processor", "cores", "system")  # what the page tells of the machine that the load comes from

Watch = Callable[[int, float, float], bool]  # (connections, seconds since the last call, requests/s so far) -> go on?


class Plan(NamedTuple):
    """The levels, one after the other: connections of each, seconds that each is measured, pictures in a request."""

    connections: list[int]
    seconds: float
    pictures: int = 1


class Prepared(NamedTuple):
    """What the load needs, and the report so far, without its levels."""

    plan: Plan
    route: Route
    requests: list[bytes]
    report: Report


def prepare(target: Target, images: list[Path], plan: Plan, max_pixels: int) -> Prepared:
    """Read the pictures of `images`, and see that the server is ready and takes them.

    Raises:
        WrongUse: there are no such pictures, or more connections than this process may have.
        TintypeError: nobody answers there, or not with predictions.
    """
    _allow_files(max(plan.connections) + SPARE_FILES)
    found = pictures.read(images, max_pixels)
    bodies = messages(found.pictures, plan.pictures)
    answering = probe.ask(target, bodies[0])
    requests = [encode(target, body) for body in bodies]
    return Prepared(plan, answering.route, requests, _begin(target, found, plan, answering.model))


def measure(prepared: Prepared, watch: Watch) -> Report:
    """Load the server at each number of connections; the report, all of it JSON. `watch` may end it early."""
    levels = [
        {**asdict(level), "pictures_per_second": prepared.plan.pictures * level.requests_per_second}
        for level in _levels(prepared, watch)
    ]
    return {**prepared.report, "levels": levels}


def _begin(target: Target, found: Found, plan: Plan, model: dict[str, Any]) -> Report:
    return {
        "url": target.url,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model,
        "pictures": {
            "found": found.files,
            "skipped": found.skipped,
            "sent": len(found.pictures),
            "mean_bytes": round(sum(len(picture.data) for picture in found.pictures) / len(found.pictures)),
            "in_a_request": plan.pictures,
        },
        "connections": plan.connections,
        "seconds": plan.seconds,
        "machine": {key: value for key, value in speed.machine().items() if key in MACHINE},
    }


def _levels(prepared: Prepared, watch: Watch) -> Iterator[Level]:
    """What was measured at each number of connections; the last one is short when `watch` ended it."""
    seconds = prepared.plan.seconds
    for connections in prepared.plan.connections:
        level = load.run(prepared.route, prepared.requests, connections, seconds, watch=partial(watch, connections))
        ended = level.seconds < seconds
        if level.ok or level.bad or not ended:
            yield level
        if ended:
            return


def _allow_files(count: int) -> None:
    """Let this process have as many files open.

    Raises:
        WrongUse: it may not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise WrongUse(f"this process may open {hard - SPARE_FILES} connections at most; raise `ulimit -n`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
