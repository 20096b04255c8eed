"""HTTP as Uvicorn reads it, with a limit on the head of a request and a short way for one raw picture.

    head -> body -> [one raw picture, and its model is open here?] -> serving.api.direct
                                  └─ no ─▶ ASGI, as Uvicorn does it

The short way saves what ASGI costs: a task, an event, a scope and five messages for each request.
"""

from typing import TYPE_CHECKING, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from serving.access.keys import Key

MOST_HEAD = 65_536  # bytes of request line and headers, as most servers have it: they must not fill the memory

Headers = list[tuple[bytes, bytes]]


class Direct(Protocol):
    """Who answers by the short way; an attribute of the application."""

    def takes(self, method: bytes, url: bytes, headers: Headers) -> tuple[int, "Key | None"]:
        """The bytes of the body to receive whole, and whose request it is; 0 when it is not one for the short way."""

    def answer(self, url: bytes, headers: Headers, body: bytes, exchange: "Exchange") -> bool:
        """Answer now or later, by `exchange.reply`; False when another way has to be taken after all."""

    def release(self, size: int) -> None:
        """As many bytes as were to be received need no memory any more."""

    @property
    def seconds(self) -> float:
        """That a client may take to send a body."""

    def late(self, exchange: "Exchange") -> None:
        """The body did not come in that time."""


class Exchange:
    """A request on the short way, and its answer; to Uvicorn's protocol it is what a cycle is."""

    __slots__ = (
        "_http", "body", "disconnected", "keep_alive", "key", "message_event", "response_complete", "size", "timer"
    )  # fmt: skip

    def __init__(self, http: "Http", size: int, key: "Key | None", *, keep_alive: bool) -> None:
        self._http = http
        self.key = key  # of the API, that it came with; None where none is asked for
        self.size = size  # of the body, as declared
        self.body: list[bytes] | None = []  # what came of it; None once it is whole
        self.keep_alive = keep_alive
        self.timer: asyncio.TimerHandle | None = None
        self.disconnected = False
        self.response_complete = False
        self.message_event = self

    def set(self) -> None:
        """The client has hung up (Uvicorn wakes a cycle's task by this); the answer finds nobody."""
        self.received()

    def received(self) -> None:
        """No more of the body is to come."""
        if self.body is not None:
            self.body = None
            if self.timer:
                self.timer.cancel()
            self._http.direct.release(self.size)

    def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Send the answer, on the loop's thread."""
        self.response_complete = True
        self._http.send(self, status, headers, body)


class Http(HttpToolsProtocol):
    """Uvicorn's own protocol, which has neither (0.54)."""

    _head = 0
    _exchange: Exchange | None = None  # whose body is being received

    @property
    def direct(self) -> Direct:
        """The short way of the application."""
        way: Direct = self.app.direct
        return way

    def data_received(self, data: bytes) -> None:
        """Read on, unless a head has come to MOST_HEAD bytes and has not ended."""
        self._head += len(data)
        super().data_received(data)
        if self._head > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The request's head has more than {MOST_HEAD} bytes.")
        elif self._exchange and not self._exchange.timer:
            self._exchange.timer = self.loop.call_later(self.direct.seconds, self.direct.late, self._exchange)

    def on_headers_complete(self) -> None:
        """The head has ended; what comes now is bounded by the application."""
        self._head = -(2**62)
        size, key = 0, None
        if self.cycle is None or self.cycle.response_complete:  # else the client sends ahead, and has to wait
            size, key = self.direct.takes(self.parser.get_method(), self.url, self.headers)
        if size:
            exchange = Exchange(self, size, key, keep_alive=self._keeps_alive())
            self._exchange = self.cycle = exchange  # type: ignore[assignment] # as far as it is asked, it is one
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of it."""
        if self._exchange is None:
            super().on_body(body)
        elif self._exchange.body is not None:
            self._exchange.body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole, and the next one begins."""
        self._head = 0
        if self._exchange is None:
            super().on_message_complete()
        elif self._exchange.body is not None:
            exchange, pieces = self._exchange, self._exchange.body
            self._exchange = None
            exchange.received()
            body = b"".join(pieces)
            if not self.direct.answer(self.url, self.headers, body, exchange):
                self._take_the_long_way(exchange, body)

    def send(self, exchange: Exchange, status: int, headers: Headers, body: bytes) -> None:
        """Write an answer, and turn to the next request."""
        if self.transport.is_closing():
            return
        if not exchange.keep_alive:
            headers.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _keeps_alive(self) -> bool:
        return self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()

    def _take_the_long_way(self, exchange: Exchange, body: bytes) -> None:
        exchange.response_complete = True
        super().on_headers_complete()
        self.cycle.keep_alive &= exchange.keep_alive  # the server may have begun to shut down meanwhile
        super().on_body(body)
        super().on_message_complete()
