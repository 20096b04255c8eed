"""Real processes and real sockets, for the tests that need them."""

import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from serving.jobs.inputs import read_chunk

ROOT = Path(__file__).parents[1]
READY_SECONDS = 60


def read_listing(target):
    """The chunks that were listed into a folder, in order."""
    return [read_chunk(target, number) for number in range(len(list(target.iterdir())))]


class Home:
    """A home folder, and the command with it."""

    def __init__(self, path):
        self.path = path
        self.environment = {**os.environ, "TINTYPE_HOME": str(path), "TINTYPE_DRAIN_MS": "0"}

    def run(self, *arguments, **more):
        """The command in a process of its own."""
        command = [sys.executable, str(ROOT / "tintype.py"), *map(str, arguments)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, **more)

    def json(self, *arguments):
        """What the command prints with --json, in a process of its own."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments, **settings):
        environment = {**self.environment, **settings}
        command = [sys.executable, str(ROOT / "tintype.py"), *map(str, arguments)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
        )


class Client:
    """HTTP on a real socket."""

    def __init__(self, port):
        self.port = port

    def request(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def get(self, path):
        status, _, body = self.request("GET", path)
        return status, json.loads(body)

    def predict(self, body, query="", content_type="image/png"):
        status, _, answer = self.request("POST", "/predict" + query, body, Content_Type=content_type)
        return status, json.loads(answer)

    def predict_form(self, files, query=""):
        body, content_type = form(files)
        return self.predict(body, query, content_type)


def form(files, field="image"):
    """(body, content type) of a form with files [(name, bytes)]."""
    head = '--part\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\nContent-Type: image/png\r\n\r\n'
    parts = [head.format(field, name).encode() + data + b"\r\n" for name, data in files]
    return b"".join([*parts, b"--part--\r\n"]), "multipart/form-data; boundary=part"


# Below those that Linux gives to connections (from 32768 on), one of which could take a port before its server does;
# in an order of this process's own, for other tests may run beside it.
_PORTS = itertools.cycle(random.Random(os.getpid()).sample(range(12_000, 32_000), 20_000))


def free_port():
    """A port on which nobody listens, and that was not given just before."""
    return next(port for port in _PORTS if _is_free(port))


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def serving(home, **settings):
    """A server of `home` that is ready, and its client."""
    port = free_port()
    process = home.start("serve", "--port", port, **settings)
    client = Client(port)
    try:
        wait_answering(process, client)
        yield process, client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stderr.close()


def wait_answering(process, client):
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, process.stderr.read().decode()
        try:
            return client.get("/health/live")
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the server did not answer")
