"""Pages of other origins, where they are named: CORS (WHATWG Fetch, 3.2). Without names a browser lets none read.

A key travels in Authorization, which scripts set themselves: no answer ever allows the browser's own credentials.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.api.front import Front

METHODS = b"GET, POST, PUT, DELETE"
SENT = b"Accept, Authorization, Content-Type, Idempotency-Key, Tintype-Key, X-Request-Id"  # what a page may send
SHOWN = b"Location, Retry-After, Server-Timing, WWW-Authenticate, X-Model, X-Model-Sha256, X-Request-Id, X-Variant"
SECONDS = b"600"  # that a browser may remember a preflight's answer
_VARY = (b"vary", b"Origin")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class Cors:
    """The front, as an ASGI application whose answers the pages of these origins may read."""

    def __init__(self, application: "Front", origins: tuple[str, ...]) -> None:
        self._application = application
        self.direct = application.direct  # the short way, which web pages do not take
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or let the application answer and say who may read it."""
        given = dict(scope["headers"])
        origin = given.get(b"origin")
        if origin not in self._origins:
            await self._application(scope, receive, _adding(send, [_VARY]))
        elif scope["method"] == "OPTIONS" and b"access-control-request-method" in given:
            await receive()
            await send({"type": "http.response.start", "status": 204, "headers": _preflight(origin)})
            await send({"type": "http.response.body", "body": b""})
        else:
            allowed = [_VARY, (b"access-control-allow-origin", origin), (b"access-control-expose-headers", SHOWN)]
            await self._application(scope, receive, _adding(send, allowed))


def _preflight(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        _VARY,
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", SENT),
        (b"access-control-max-age", SECONDS),
    ]


def _adding(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return sending
