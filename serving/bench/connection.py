"""One client of a load test: a socket that never blocks."""

import os
import select
import socket
import ssl
from enum import Enum
from time import perf_counter
from typing import Any, NamedTuple

from serving.bench.response import Response

READ = 65536  # bytes
_BOTH = select.EPOLLIN | select.EPOLLOUT
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_CLOSED = "connection closed"
_REASONS: dict[type[Exception], str] = {
    ConnectionRefusedError: "connection refused",
    ConnectionError: _CLOSED,
    EOFError: _CLOSED,
    ssl.SSLError: "TLS failed",
    ValueError: "not HTTP",
}


class Route(NamedTuple):
    """How to reach a server: its numeric address, and for HTTPS the context and the name in its certificate."""

    family: int
    address: Any  # as the socket module has it for this family
    context: ssl.SSLContext | None = None
    name: str = ""


class Failure(Exception):
    """A connection that broke; `str(error)` is the reason in a few words."""


class State(Enum):
    """Where a connection stands."""

    CLOSED = 0
    CONNECTING = 1
    IDLE = 2  # it can take a request
    ASKED = 3  # a request is on its way, or its response


class Connection:
    """Sends requests and gathers their responses, and tells an epoll what it waits for.

    `open`, `send` and `advance` raise `Failure` when it breaks; it is closed then, and may be opened again.
    """

    __slots__ = ("_events", "_left", "_route", "_socket", "response", "sent", "state")

    def __init__(self, route: Route, events: select.epoll) -> None:
        self._route = route
        self._events = events
        self._left: memoryview | None = None  # what of the request has not been sent
        self.response = Response()
        self.sent = 0.0  # time.perf_counter() before the first byte of the request
        self.state = State.CLOSED

    @property
    def reusable(self) -> bool:
        """Whether a request may follow a response: the server keeps the connection, and the last one was sent whole."""
        return self.response.stays and self._left is None

    def open(self) -> int:
        """Begin to connect; the descriptor by which the epoll will speak of this connection."""
        self._socket: socket.socket = socket.socket(self._route.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.state = State.CONNECTING
        self._events.register(self._socket, _BOTH)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.connect(self._route.address)
        except BlockingIOError:
            pass
        except OSError as error:
            raise self._broken(error) from error
        return self._socket.fileno()

    def close(self) -> None:
        """Drop the socket and the request that is on its way."""
        if self.state is not State.CLOSED:
            self._socket.close()  # which takes it out of the epoll
        self._left, self.state = None, State.CLOSED

    def send(self, request: bytes) -> None:
        """Send a request, as much as the kernel takes now; `advance` sends the rest."""
        self.response.start()
        self.state = State.ASKED
        self.sent = perf_counter()
        try:
            taken = self._write(request)
        except OSError as error:
            raise self._broken(error) from error
        if taken < len(request):
            self._left = memoryview(request)[taken:]
            self._events.modify(self._socket, _BOTH)

    def advance(self, ready: int) -> bool:
        """Do what the kernel is ready for; True when there is a whole response to the request."""
        try:
            if self.state is State.CONNECTING:
                self._connect()
            elif ready & ~select.EPOLLOUT and self._read():
                self.state = State.IDLE
                return True
            elif self._left is not None:
                self._write_rest(self._left)
        except (OSError, ValueError, EOFError) as error:
            raise self._broken(error) from error
        return False

    def _connect(self) -> None:
        """Finish TCP's handshake, then TLS's."""
        if problem := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(problem, os.strerror(problem))
        if self._route.context is None or self._shake_hands(self._route.context):
            self._events.modify(self._socket, select.EPOLLIN)
            self.state = State.IDLE

    def _shake_hands(self, context: ssl.SSLContext) -> bool:
        if not isinstance(self._socket, ssl.SSLSocket):
            name = self._route.name
            self._socket = context.wrap_socket(self._socket, server_hostname=name, do_handshake_on_connect=False)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._events.modify(self._socket, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._events.modify(self._socket, _BOTH)
        else:
            return True
        return False

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except _NOT_YET:
            return 0

    def _write_rest(self, left: memoryview) -> None:
        self._left = left[self._write(left) :]
        if not self._left:
            self._left = None
            self._events.modify(self._socket, select.EPOLLIN)

    def _read(self) -> bool:
        """Take what has come; True when the response is whole."""
        try:
            while data := self._socket.recv(READ):
                if self.response.take(data):
                    return True
                if self._route.context is None:  # only TLS may have more at hand that the kernel does not know of
                    return False
        except _NOT_YET:
            return False
        if self.response.end():
            return True
        raise EOFError

    def _broken(self, error: Exception) -> Failure:
        self.close()
        known = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), None)
        return Failure(known or str(getattr(error, "strerror", None) or error))
