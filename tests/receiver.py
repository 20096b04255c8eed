"""A receiver of webhooks on a real socket, which checks their signatures by itself."""

import base64
import hashlib
import hmac
import http.server
import threading
import time
from contextlib import contextmanager, suppress
from typing import NamedTuple

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Message(NamedTuple):
    """What came."""

    path: str
    headers: dict
    body: bytes

    @property
    def id(self):
        return self.headers["webhook-id"]

    def is_signed(self, secret=SECRET):
        """Whether one of its signatures is that of the secret, and it is of now."""
        moment = int(self.headers["webhook-timestamp"])
        signed = b".".join([self.id.encode(), b"%d" % moment, self.body])
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        given = self.headers["webhook-signature"].encode().split(b" ")
        return abs(time.time() - moment) < 300 and any(hmac.compare_digest(each, expected) for each in given)


class Receiver:
    """Keeps what came; answers with `statuses` one after another, then with 204."""

    def __init__(self, port):
        self.port, self.got, self.statuses = port, [], []
        self.go_on = threading.Event()  # while it is not set, nothing is answered
        self.go_on.set()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/done?job=1"


@contextmanager
def receiving():
    """A receiver, for as long as the `with` lasts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(Message(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.statuses.pop(0) if receiver.statuses else 204
            receiver.go_on.wait(60)
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", receiver.address + "&again=1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

        def handle(self):
            with suppress(OSError):  # the sender was killed meanwhile
                super().handle()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.go_on.set()
            server.shutdown()
            thread.join()
