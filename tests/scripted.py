"""A web server on a real socket that answers as it is told, byte for byte."""

import contextlib
import json
import re
import socket
import ssl
import threading
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("localhost.pem")
IDENTITY = {"name": "digits", "version": 1, "sha256": "be2a467f" * 8, "variant": "fp32"}
READY = {"status": "ready", "models": [IDENTITY]}
TIMINGS = {"decode_ms": 0.5, "wait_ms": 2.0, "infer_ms": 1.5, "total_ms": 4.5}
PREDICTED = {"model": IDENTITY, "predictions": [{"file": None, "label": "7", "confidence": 0.9}], "timings": TIMINGS}


def response(status=200, body=b"{}", *fields, version="1.1"):
    """The bytes of a response with a Content-Length."""
    lines = [f"HTTP/{version} {status} Because", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body, size, trailer=""):
    """The bytes of a 200 whose body comes in chunks of `size`."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + f"0\r\n{trailer}\r\n".encode()


def answer(value, status=200):
    return response(status, json.dumps(value).encode(), "Content-Type: application/json")


def problem(status, detail):
    return answer({"type": "about:blank", "status": status, "code": "any", "detail": detail}, status)


def as_tintype(predict, ready=None):
    """As a Tintype server: `predict(number)` answers the POSTs, counted from 0."""
    posts = -1

    def answered(head, _):
        nonlocal posts
        if head.startswith(b"GET /health/ready "):
            return ready or answer(READY)
        posts += 1
        return predict(posts)

    return answered


class Scripted:
    """`answered(head, body)` gives the bytes of a response, or a list of pieces, or None to close the connection.

    A response that says "Connection: close", and one of HTTP/1.0, is the last of its connection.
    """

    def __init__(self, answered, *, secure=False, patient=True):
        self._answered = answered
        self._patient = patient  # reads whole requests before it answers
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if secure else None
        if secure:
            self._context.load_cert_chain(CERTIFICATE)
        self._lock = threading.Lock()
        self._open = set()
        self.connections = 0
        self.requests = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http{'s' if secure else ''}://localhost:{self.port}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Close everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
                self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with contextlib.suppress(OSError, EOFError), self._speaking(client) as connection:
            while self._answer(connection):
                pass

    def _speaking(self, client):
        return self._context.wrap_socket(client, server_side=True) if self._context else client

    def _answer(self, connection):
        """Answer one request; whether another may follow."""
        head, body = self._receive(connection)
        with self._lock:
            self.requests.append((head, body))
            given = self._answered(head, body)
        if given is None:
            return False
        pieces = [given] if isinstance(given, bytes) else given
        for piece in pieces:
            connection.sendall(piece)
        return b"Connection: close" not in pieces[0] and not pieces[0].startswith(b"HTTP/1.0")

    def _receive(self, connection):
        """The head and the body of a request; of a server that is not `patient`, the head alone."""
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._some(connection)
        length = re.search(rb"content-length: (\d+)", data[:end].lower())
        while self._patient and length and len(data) < end + 4 + int(length[1]):
            data += self._some(connection)
        return bytes(data[: end + 2]), bytes(data[end + 4 :])

    def _some(self, connection):
        if not (data := connection.recv(65536)):
            raise EOFError
        return data
