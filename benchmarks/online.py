"""Requests a second: `tintype serve` beside a plain Flask handler behind Gunicorn, in turns within one run.

python -m benchmarks.online [--seconds 5] [--rounds 3]
"""

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import bound, subject
from serving.bench import load, target
from serving.bench.connection import Route
from serving.bench.level import Level
from serving.bench.requests import Message, encode

CONNECTIONS = (1, 8, 32)
CORES = len(os.sched_getaffinity(0))
HOST = "127.0.0.1"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median of the rounds counts")
    arguments = parser.parse_args()
    measured = subject.make()
    files = sorted(measured.folder.rglob("*.jpg"))
    message = Message(files[0].read_bytes(), "image/jpeg", [files[0].name])
    limits = bound.measure(measured.bundle, files[:500])
    print(f"\nresnet20v1, one {files[0].stat().st_size}-byte JPEG of 32×32 a request, {CORES} cores")
    print(f"decoding alone {limits.decode:,.0f}/s a core, ONNX Runtime alone {limits.infer:,.0f}/s a core, "
          f"so at most {limits.both:,.0f}/s\n")  # fmt: skip
    levels: dict[tuple[str, int], list[Level]] = {}
    with _tintype(measured) as ours, _flask(measured) as theirs:
        for _ in range(arguments.rounds):
            for connections in CONNECTIONS:
                for name, port in (("tintype", ours), ("flask", theirs)):
                    level = _load(port, message, connections, arguments.seconds)
                    levels.setdefault((name, connections), []).append(level)
    _print(levels, limits.both)


def _load(port: int, message: Message, connections: int, seconds: float) -> Level:
    server = target.parse(f"http://{HOST}:{port}", None, None, [])
    return load.run(Route(socket.AF_INET, (HOST, port)), [encode(server, message)], connections, seconds)


def _print(levels: dict[tuple[str, int], list[Level]], limit: float) -> None:
    print("connections  server              requests/s   p50 ms   p99 ms  failed  of the bound  tintype / flask")
    for connections in CONNECTIONS:
        ours, theirs = (_median_rate(levels[name, connections]) for name in ("tintype", "flask"))
        _print_row("tintype serve", connections, levels["tintype", connections], limit, f"{ours / theirs:.2f}")
        _print_row("Flask on Gunicorn", connections, levels["flask", connections], limit, "")


def _print_row(name: str, connections: int, runs: list[Level], limit: float, ratio: str) -> None:
    rate, failed = _median_rate(runs), sum(sum(each.bad.values()) for each in runs)
    p50, p99 = (statistics.median(getattr(each, cut) or 0 for each in runs) for cut in ("p50_ms", "p99_ms"))
    share = 100 * rate / limit
    print(f"{connections:11}  {name:18} {rate:11,.0f} {p50:8.2f} {p99:8.2f} {failed:7} {share:11.0f} % {ratio:>16}")


def _median_rate(runs: list[Level]) -> float:
    return statistics.median(each.requests_per_second for each in runs)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _tintype(measured: subject.Subject) -> Iterator[int]:
    port = _free_port()
    command = [sys.executable, str(subject.ROOT / "tintype.py"), "serve", "--port", str(port)]
    with _running(command, subject.environment(measured.home), port):
        yield port


@contextmanager
def _flask(measured: subject.Subject) -> Iterator[int]:
    """Gunicorn at its best of those that were tried: a process a core, threads for the connections."""
    port = _free_port()
    gunicorn = Path(sys.executable).with_name("gunicorn")
    command = [
        str(gunicorn), "--workers", str(CORES), "--worker-class", "gthread", "--threads", "32", "--log-level", "error",
        "--bind", f"{HOST}:{port}", "benchmarks.flask_app:app",
    ]  # fmt: skip
    environment = {**os.environ, "BENCH_ONNX": str(measured.bundle.variant_file("fp32"))}
    with _running(command, environment, port):
        yield port


@contextmanager
def _running(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, env=environment, cwd=subject.ROOT) as server:
        try:
            _wait(port)
            yield
        finally:
            server.terminate()


def _wait(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()
    sys.exit("a server did not start")


if __name__ == "__main__":
    main()
