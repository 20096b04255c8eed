"""What changing versions costs those who ask meanwhile, and whether memory comes back.

python -m benchmarks.swaps [--swaps 50] [--seconds 15]

A ResNet20 under 16 connections, embedded and behind a worker: p99 while nothing changes, and while versions are put in
and rolled back, one after the other; resident memory of each process before, and a minute after the last swap.
"""

import argparse
import json
import multiprocessing
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifacts.store import Reference, Store
from benchmarks import subject
from benchmarks.subject import MODEL
from serving.bench import load, target
from serving.bench.connection import Route
from serving.bench.level import Level
from serving.bench.requests import Message, encode
from serving.engine.opened import IDLE_SECONDS
from tests.deployment import Deployment, Server, undelayed_redis, until
from tests.real import Home

CONNECTIONS = 16
PATIENCE = 120.0  # seconds that one swap may take
OK = 200


def main() -> None:
    """Measure both deployments and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15, help="without a change, before and after")
    arguments = parser.parse_args()
    measured = subject.make()
    picture = next(iter(sorted(measured.folder.rglob("*.jpg"))))
    message = Message(picture.read_bytes(), "image/jpeg", [picture.name])
    for workers in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "home"
            shutil.copytree(measured.bundle.path, home / "models" / MODEL / "1")
            _sealed(home / "models" / MODEL / "1")
            store = Store(home / "models")
            store.deploy(Reference(MODEL, version=1))
            with _deployed(Home(home), Path(folder), workers) as (deployment, server):
                _measure(deployment, server, store, message, arguments)


def _measure(
    deployment: Deployment, server: Server, store: Store, message: Message, arguments: argparse.Namespace
) -> None:
    idle = [_load(server.port, message, arguments.seconds)]
    before = _megabytes(deployment)
    told: multiprocessing.SimpleQueue[list[float]] = multiprocessing.SimpleQueue()

    def swap() -> None:
        told.put(list(_swapped(server, store, message, arguments.swaps)))

    # In a process of its own: what it does must not hold up the clients that measure.
    swapper = multiprocessing.get_context("fork").Process(target=swap)
    swapper.start()
    during = _load(server.port, message, PATIENCE * arguments.swaps, lambda *_: swapper.is_alive())
    swapper.join()
    took = told.get()
    idle.append(_load(server.port, message, arguments.seconds))
    time.sleep(IDLE_SECONDS + 5)  # what nobody asks for any more is freed after so long
    after = _megabytes(deployment)
    usual = statistics.median(level.p99_ms or 0 for level in idle)
    print(f"\n{'behind a worker' if len(deployment.programs) > 1 else 'embedded'}, {CONNECTIONS} connections")
    print(f"  {len(took)} swaps, each served after {statistics.median(took):.2f} s (median), {max(took):.2f} s at most")
    print(f"  requests failed: {sum(during.bad.values())} of {during.ok:,}")
    still = " and ".join(f"{level.p99_ms:.1f}" for level in idle)
    times = (during.p99_ms or 0) / usual
    print(f"  p99 idle {still} ms; while swapping {during.p99_ms:.1f} ms: {times:.2f} times")
    print(f"  resident MB of each process: before {before}, after {after}")


def _swapped(server: Server, store: Store, message: Message, times: int) -> Iterator[float]:
    """Deploy a version that nobody has loaded, and roll it back, by turns; the seconds until it is served."""
    for turn in range(times):
        if turn % 2 == 0:
            version = _again(store)
            began = time.monotonic()
            store.deploy(Reference(MODEL, version=version))
        else:
            began = time.monotonic()
            version = store.rollback(MODEL)

        def served(version: int = version) -> bool:
            answers = [server.client.predict(message.body, content_type="image/jpeg")[1] for _ in range(4)]
            return {answer.get("model", {}).get("version") for answer in answers} == {version}

        until(served, PATIENCE, f"{MODEL}@{version} is not served")
        yield time.monotonic() - began


def _again(store: Store) -> int:
    """The first version once more, under the next number."""
    first = store.path(MODEL, 1)
    manifest = json.loads((first / "manifest.json").read_bytes())
    body = {key: manifest[key] for key in manifest if key not in ("name", "version", "files", "sha256")}
    with store.staging(MODEL) as folder:
        shutil.copytree(first, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        return store.publish(MODEL, folder, body, {}).version


def _sealed(version: Path) -> None:
    """Give a copy the number 1."""
    from artifacts import bundle

    manifest = json.loads((version / "manifest.json").read_bytes())
    (version / "manifest.json").unlink()
    body = {key: manifest[key] for key in manifest if key not in ("files", "sha256")}
    bundle.seal(version, {**body, "version": 1})


def _load(port: int, message: Message, seconds: float, watch: load.Watch = lambda *_: True) -> Level:
    server = target.parse(f"http://127.0.0.1:{port}", None, None, [])
    route = Route(socket.AF_INET, ("127.0.0.1", port))
    return load.run(route, [encode(server, message)], CONNECTIONS, seconds, watch=watch)


@contextmanager
def _deployed(home: Home, folder: Path, workers: int) -> Iterator[tuple[Deployment, Server]]:
    redis = undelayed_redis(folder / "redis").start() if workers else None
    deployment = Deployment(home, redis, folder, TINTYPE_VARIANT="fp32")
    try:
        for _ in range(workers):
            deployment.worker()
            deployment.until_alive(workers)
        server = deployment.server()
        until(lambda: server.client.get("/health/ready")[0] == OK, PATIENCE, "it is not ready")
        yield deployment, server
    finally:
        deployment.end()
        if redis:
            redis.stop()


def _megabytes(deployment: Deployment) -> list[int]:
    """Resident memory of each process that answers."""
    processes = [each for program in deployment.programs for each in program.family()]
    return [each.memory_info().rss // 1_000_000 for each in processes]


if __name__ == "__main__":
    main()
