"""A load in a closed loop: each connection sends its next request when it has its answer.

One thread and raw sockets: some 30 microseconds a request, so that the machine is left to the server that is measured.
"""

import selectors
import socket
import statistics
import time
from typing import NamedTuple

HEAD_END = b"\r\n\r\n"


class Load(NamedTuple):
    """Answers of 200 a second, their latency in milliseconds, and how many answers were none of 200."""

    rate: float
    p50: float
    p99: float
    failed: int


def run(port: int, request: bytes, connections: int, seconds: float) -> Load:
    """Load 127.0.0.1:`port` with one prepared HTTP/1.1 request."""
    chooser = selectors.DefaultSelector()
    for _ in range(connections):
        client = _Client(port, request)
        chooser.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    latencies: list[float] = []
    failed = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for key, _ in chooser.select(timeout=1):
            status = key.data.receive()
            if status is None:
                continue
            if status == b"200":
                latencies.append(time.perf_counter() - key.data.sent)
            else:
                failed += 1
            key.data.send()
    elapsed = time.perf_counter() - began
    for key in list(chooser.get_map().values()):
        key.data.socket.close()
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
    return Load(len(latencies) / elapsed, 1000 * cuts[49], 1000 * cuts[98], failed)


def post(path: str, body: bytes, content_type: str) -> bytes:
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return head.encode() + HEAD_END + body


class _Client:
    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self._request = request
        self._received = b""

    def send(self) -> None:
        self._received = b""
        self.sent = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> bytes | None:
        """The status once the answer is whole, else None."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection under load")
        self._received += data
        end = self._received.find(HEAD_END)
        if end < 0:
            return None
        head = self._received[:end].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return head[9:12] if len(self._received) >= end + len(HEAD_END) + length else None
