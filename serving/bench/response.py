"""A response as its bytes come in (RFC 9112, sections 2 to 7).

http.client blocks, and the parsers that do not take longer for a response than all else that the load test does for it.
"""

_HEAD_END = b"\r\n\r\n"
_LINE_END = b"\r\n"
_VERSIONS = (b"http/1.1 ", b"http/1.0 ")
_LONGEST_HEAD = 65536  # bytes; a server that sends more without an end does not speak HTTP
_BODILESS = (204, 304)
_FINAL = 200  # a status below announces another response to the same request


class Response:
    """One response; `status` and `stays` hold from the moment `take` or `end` says that it is whole."""

    __slots__ = ("_body_at", "_chunk_at", "_chunks", "_length", "_received", "status", "stays")

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Expect another one."""
        self.status = 0
        self.stays = True  # the connection, for the next request
        self._received = b""
        self._body_at = 0  # 0 before the head is there
        self._length: int | None = None
        self._chunk_at = 0  # where the next chunk begins; 0 when the body does not come in chunks
        self._chunks: list[bytes] = []

    def take(self, data: bytes) -> bool:
        """Add what has come; True when the response is whole.

        Raises:
            ValueError: this is not HTTP/1.
        """
        self._received = self._received + data if self._received else data
        if not self._body_at and not self._read_head():
            return False
        if self._chunk_at:
            return self._read_chunks()
        if self._length is None:  # the body ends where the connection does
            return False
        missing = self._body_at + self._length - len(self._received)
        if missing < 0:
            raise ValueError("more came than the response's length")
        return missing == 0

    def end(self) -> bool:
        """The connection was closed; True when that was the end of the response."""
        return self._body_at > 0 and self._length is None and not self._chunk_at

    @property
    def body(self) -> bytes:
        """The body of a response that is whole."""
        return b"".join(self._chunks) if self._chunk_at else self._received[self._body_at :]

    def _read_head(self) -> bool:
        end = self._received.find(_HEAD_END)
        if end < 0:
            if len(self._received) > _LONGEST_HEAD or not self._may_be_http():
                raise ValueError("no head of a response")
            return False
        head = self._received[: end + len(_LINE_END)].lower()
        if not head.startswith(_VERSIONS):
            raise ValueError("no status line")
        self.status = int(head[9:12])
        if self.status < _FINAL:
            self._received = self._received[end + len(_HEAD_END) :]
            return self._read_head()
        self._body_at = end + len(_HEAD_END)
        self._read_fields(head)
        return True

    def _may_be_http(self) -> bool:
        begun = self._received[:5].lower()
        return b"http/".startswith(begun)

    def _read_fields(self, head: bytes) -> None:
        connection = _field(head, b"\r\nconnection:")
        self.stays = b"close" not in connection if head.startswith(_VERSIONS[0]) else b"keep-alive" in connection
        if b"chunked" in _field(head, b"\r\ntransfer-encoding:"):
            self._chunk_at = self._body_at
            return
        length = _field(head, b"\r\ncontent-length:")
        if length:
            self._length = int(length)
        elif self.status in _BODILESS:
            self._length = 0
        else:
            self.stays = False

    def _read_chunks(self) -> bool:
        received = self._received
        while (line_end := received.find(_LINE_END, self._chunk_at)) >= 0:
            size = int(received[self._chunk_at : line_end].partition(b";")[0], 16)
            start = line_end + len(_LINE_END)
            if size == 0:  # the last chunk; trailers may follow, and an empty line ends them
                return received.find(_HEAD_END, line_end) >= 0
            if len(received) < start + size + len(_LINE_END):
                return False
            self._chunks.append(received[start : start + size])
            self._chunk_at = start + size + len(_LINE_END)
        return False


def _field(head: bytes, name: bytes) -> bytes:
    """The value of a field of a head in lower case; empty when there is none. `name` has its line's start and colon."""
    at = head.find(name)
    return head[at + len(name) : head.find(_LINE_END, at + len(name))].strip() if at >= 0 else b""
