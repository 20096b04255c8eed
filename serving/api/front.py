"""The ASGI application that Uvicorn runs: bodies in whole, then Flask in a thread.

body -> Flask, in a thread
one raw picture -> serving.api.direct, before it comes here
"""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from time import perf_counter
from typing import Any

from a2wsgi import WSGIMiddleware
from flask import Response

from artifacts.errors import TintypeError
from artifacts.settings import Settings
from serving.access.guard import Guard
from serving.api import app
from serving.api.app import Application
from serving.api.bodies import Bodies, Gone, Receive
from serving.api.console import KEY_PAGE
from serving.api.direct import Direct
from serving.board import Board
from serving.errors import BadRequest, KeyRequired
from serving.records import CALLER, Record
from serving.telemetry.recorder import REQUEST_ID

THREADS = 64  # requests that Flask works on at a time
_CLOSE = (b"connection", b"close")
_REQUEST_ID = REQUEST_ID.lower().encode()

Scope = MutableMapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Front:
    """Bodies in whole, then to Flask. `direct` is asked first."""

    def __init__(self, application: Application, settings: Settings, guard: Guard | None = None) -> None:
        self._app = application
        self._guard = guard
        self.direct = Direct(application, guard)
        self.draining = application.state.draining
        self._bodies = Bodies(settings)
        self._flask = WSGIMiddleware(application.flask, workers=THREADS)  # type: ignore[arg-type] # it is one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = dict(scope["headers"])
        try:
            if self._guard:
                given = headers.get(b"authorization", b"")
                scope[CALLER] = self._guard.check(scope["method"], scope["path"], given.decode("latin-1"))
            self._bodies.check(_length(headers))
            if not scope["query_string"].isascii():
                raise BadRequest("the query must be percent-encoded; received bytes beyond ASCII")
            body = await self._bodies.read(receive)
        except TintypeError as error:
            record = self._begin(scope, headers)
            await self._bodies.discard(receive)
            await self._refuse(self._answer(error, headers, record), record, send)
        except Gone:
            pass
        else:
            with self._bodies.holding(len(body)):
                await self._flask(scope, _again(body), self._closing(send))  # type: ignore[arg-type] # as above

    def _begin(self, scope: Scope, headers: dict[bytes, bytes]) -> Record:
        given, parent = headers.get(_REQUEST_ID, b""), headers.get(b"traceparent", b"")
        record = self._app.recorder.begin(
            scope["method"], scope["path"], given.decode("latin-1"), parent.decode("latin-1")
        )
        record.caller = scope.get(CALLER, "")
        return record

    def _answer(self, error: TintypeError, headers: dict[bytes, bytes], record: Record) -> Response:
        """The problem; for a browser that was led here, which sends no key by itself, the page that asks for one."""
        problem = self._app.problems.of(error, record)
        led_here = record.method == "GET" and b"authorization" not in headers
        if isinstance(error, KeyRequired) and led_here and b"text/html" in headers.get(b"accept", b""):
            problem.set_data(KEY_PAGE.read_bytes())
            problem.content_type = "text/html; charset=utf-8"
        return problem

    async def _refuse(self, response: Response, record: Record, send: Send) -> None:
        """An answer before the body was read: what is left of it would be taken for the next request."""
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
        headers += [(_REQUEST_ID, record.request_id.encode()), _CLOSE]
        record.status = response.status_code
        record.total = perf_counter() - record.began
        self._app.sink.add(record)
        await send({"type": "http.response.start", "status": record.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.get_data()})

    def _closing(self, send: Send) -> Send:
        """While the server drains, clients are told to come back on another connection."""
        if not self.draining.is_set():
            return send

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _CLOSE]
            await send(message)

        return sending


def create_front(settings: Settings, shared: Path, board: Board, guard: Guard | None = None) -> Front:
    """The application of one web process, with its models loaded; without a guard, for everyone.

    Raises:
        NoRuntime: the settings ask for a runtime or device that is not to be had here.
    """
    return Front(app.build(settings, shared, board), settings, guard)


def _length(headers: dict[bytes, bytes]) -> int:
    declared = headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() else 0


def _again(body: bytes) -> Receive:
    """A body that is here already, as a client sends it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive
