"""HTTP as Uvicorn reads it, with a limit on the head of a request: a client must not fill the memory with headers."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 65_536  # bytes of request line and headers, as most servers have it


class Http(HttpToolsProtocol):
    """Uvicorn's own protocol, which has no such limit (0.54)."""

    _head = 0

    def data_received(self, data: bytes) -> None:
        """Read on, unless a head has come to MOST_HEAD bytes and has not ended."""
        self._head += len(data)
        super().data_received(data)
        if self._head > MOST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The request's head has more than {MOST_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        """The head has ended; what comes now is bounded by the application."""
        super().on_headers_complete()
        self._head = -(2**62)

    def on_message_complete(self) -> None:
        """The next request begins."""
        super().on_message_complete()
        self._head = 0
