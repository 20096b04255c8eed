"""The bodies of requests: received whole before anyone works on them, so that a slow client holds no thread."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from artifacts.settings import MEGABYTE, Settings
from serving.errors import QueueFull, TooLarge, TooSlow

SECONDS = 60.0  # that a client may take to send a body
AT_ONCE = 16  # bodies of the largest size that the memory must hold
LINGER_SECONDS = 5.0  # that a refused body may still take
LINGER_TIMES = 4  # as much of it as is taken, at most

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Gone(Exception):
    """The client hung up; there is nobody to answer."""


class Bodies:
    """All that a process holds of them at a time, bounded."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_body_mb * MEGABYTE
        self._most_of_all = AT_ONCE * self._most
        self._held = 0

    def check(self, declared: int) -> None:
        """Refuse what is too large before it is sent.

        Raises:
            TooLarge
        """
        if declared > self._most:
            raise TooLarge(self._limit())

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """While a request is worked on."""
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    async def read(self, receive: Receive) -> bytes:
        """A body, whole.

        Raises:
            TooLarge, TooSlow, QueueFull, Gone
        """
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):  # nearly always
            return bytes(message.get("body", b""))
        try:
            async with asyncio.timeout(SECONDS):
                return await self._rest(message, receive)
        except TimeoutError:
            raise TooSlow(f"the body did not come within {SECONDS:.0f} seconds") from None

    async def discard(self, receive: Receive) -> None:
        """Let a client finish sending what is refused: many read no answer before. Not for long, and not for much."""
        seen = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while seen < LINGER_TIMES * self._most:
                    message = await receive()
                    seen += len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return

    async def _rest(self, message: dict[str, Any], receive: Receive) -> bytes:
        body = bytearray()
        try:
            while True:
                if message["type"] != "http.request":
                    raise Gone
                piece = message.get("body", b"")
                body += piece
                self._held += len(piece)
                if len(body) > self._most:
                    raise TooLarge(self._limit())
                if self._held > self._most_of_all:
                    raise QueueFull("too many large requests are being received; try again soon")
                if not message.get("more_body"):
                    return bytes(body)
                message = await receive()
        finally:
            self._held -= len(body)

    def _limit(self) -> str:
        return f"the body has more than {self._most // MEGABYTE} MB; send it in parts, or raise TINTYPE_MAX_BODY_MB"
