"""Whether anything grows under load: a server, a Redis and a worker, watched for many minutes.

python -m benchmarks.soak [--minutes 30] [--connections 8] [--rate 0]

Every 10 s: memory, open files and threads of each process; keys, memory and clients of Redis. What counts is the line
through the second half of the samples: where it rises by more than noise the exit code is 1. So it is when a request
was answered otherwise than it should be.
"""

import argparse
import http.client
import itertools
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from tqdm import tqdm

from benchmarks import subject
from tests.deployment import Deployment, Server, undelayed_redis
from tests.real import Home, form

EVERY = 10.0  # seconds between two samples
MEGABYTE = 1e6
# By how much the line may rise in half the time.
NOISE = {"memory MB": 2.0, "files": 3.0, "threads": 1.0, "keys": 1.0, "clients": 2.0, "data MB": 0.5}
OK, NO_PICTURE = 200, 415
PATIENCE = 30  # seconds that a client waits


class Request(NamedTuple):
    """What to send, and the status to expect."""

    method: str
    path: str
    body: bytes | None
    kind: str
    status: int


class Series(NamedTuple):
    """One thing that was watched: of which process, what, and its values over time."""

    process: str
    what: str
    values: list[float]


def main() -> None:
    """Watch, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: as many as are answered")
    arguments = parser.parse_args()
    measured = subject.make()
    pictures = [path.read_bytes() for path in sorted(measured.folder.rglob("*.jpg"))[:200]]
    with tempfile.TemporaryDirectory() as folder, _deployed(measured.home, Path(folder)) as (deployment, server):
        clients = Clients(server.port, mixed(pictures), arguments.connections, arguments.rate)
        samples = _watch(deployment, clients, 60 * arguments.minutes)
        clients.end()
    seconds = sum(clients.statuses.values()) / (60 * arguments.minutes)
    print(f"\n{sum(clients.statuses.values()):,} requests, {seconds:,.0f}/s: {dict(clients.statuses)}")
    rising = _print(samples)
    if rising or clients.wrong:
        sys.exit(f"rising: {rising or 'nothing'}; answered otherwise than they should be: {dict(clients.wrong)}")


def mixed(pictures: list[bytes]) -> list[Request]:
    """Of a hundred requests: mostly one picture each, and some of every other kind."""
    many, kind = form([(f"{number}.jpg", data) for number, data in enumerate(pictures[:40])])
    single = [Request("POST", "/predict", data, "image/jpeg", OK) for data in pictures]
    others = [
        Request("POST", "/predict", many, kind, OK),
        Request("POST", "/predict", b"no picture", "image/jpeg", NO_PICTURE),
        Request("GET", "/metrics", None, "", OK),
        Request("GET", "/health/ready", None, "", OK),
    ]
    return [each for start in range(0, len(single), 25) for each in (*single[start : start + 25], *others)]


class Clients:
    """Threads that ask in turn, each over a connection that it drops now and then."""

    def __init__(self, port: int, requests: list[Request], count: int, rate: float) -> None:
        self.statuses: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self._port = port
        self._requests = itertools.cycle(requests)
        self._pause = count / rate if rate else 0.0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Return when all have their answers."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            for _ in range(100):
                began = time.monotonic()
                self._ask(connection, next(self._requests))
                if self._over.wait(max(0.0, began + self._pause - time.monotonic())):
                    break
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, request: Request) -> None:
        try:
            connection.request(request.method, request.path, request.body, {"Content-Type": request.kind})
            response = connection.getresponse()
            response.read()
            status = str(response.status)
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
            connection.close()
        self.statuses[status] += 1
        if status != str(request.status):
            self.wrong[status] += 1


@contextmanager
def _deployed(home: Path, folder: Path) -> Iterator[tuple[Deployment, Server]]:
    redis = undelayed_redis(folder / "redis").start()
    deployment = Deployment(Home(home), redis, folder, TINTYPE_ACCESS_LOG="/dev/null", TINTYPE_VARIANT="fp32")
    try:
        deployment.worker(name="worker")
        server = deployment.server()
        deployment.until_ready(server)
        yield deployment, server
    finally:
        deployment.end()
        redis.stop()


def _watch(deployment: Deployment, clients: Clients, seconds: float) -> list[Series]:
    """A sample every EVERY seconds."""
    processes = dict(_processes(deployment))
    samples: dict[tuple[str, str], list[float]] = {}
    end = time.monotonic() + seconds
    with tqdm(total=round(seconds), desc="soak", unit="s") as bar, deployment.redis.client() as redis:
        while time.monotonic() < end:
            time.sleep(EVERY)
            bar.update(round(EVERY))
            bar.set_postfix(requests=sum(clients.statuses.values()), wrong=sum(clients.wrong.values()))
            for name, process in processes.items():
                samples.setdefault((name, "memory MB"), []).append(process.memory_info().rss / MEGABYTE)
                samples.setdefault((name, "files"), []).append(process.num_fds())
                samples.setdefault((name, "threads"), []).append(process.num_threads())
            samples.setdefault(("Redis", "keys"), []).append(redis.dbsize())
            samples.setdefault(("Redis", "clients"), []).append(redis.info("clients")["connected_clients"])
            samples.setdefault(("Redis", "data MB"), []).append(redis.info("memory")["used_memory"] / MEGABYTE)
    return [Series(*key, values) for key, values in samples.items()]


def _processes(deployment: Deployment) -> Iterator[tuple[str, psutil.Process]]:
    yield "Redis", psutil.Process(deployment.redis.process.pid)
    for program in deployment.programs:
        parent, *children = program.family()
        yield type(program).__name__, parent
        for number, child in enumerate(children):
            yield f"{type(program).__name__}'s {number}", child


def _print(samples: list[Series]) -> str:
    """A table; gives what rises."""
    rising = []
    print(f"\n{'process':14} {'what':10} {'first':>9} {'half':>9} {'last':>9} {'rise in the second half':>24}")
    for process, what, values in samples:
        half = values[len(values) // 2 :]
        slope = float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else 0.0
        rise = slope * (len(half) - 1)
        verdict = "rises" if rise > NOISE[what] else "flat"
        figures = "".join(f" {value:9.1f}" for value in (values[0], half[0], values[-1]))
        print(f"{process:14} {what:10}{figures} {rise:17.2f} {verdict}")
        if verdict == "rises":
            rising.append(f"{what} of {process}")
    return ", ".join(rising)


if __name__ == "__main__":
    main()
