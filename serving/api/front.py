"""The ASGI application that Uvicorn runs: one picture as the raw body is answered here, all else by Flask in a thread.

    body -> [raw picture and model open?] -> the loop's lane -> JSON
                     └─ no ─▶ thread: Flask, or the lane of the workers

What Flask and a change of threads do for a request takes longer than decoding a small picture, and nearly all requests
are one picture. The answers are the same, byte for byte but for the timings.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
from a2wsgi import WSGIMiddleware
from flask import Response

from artifacts.errors import PictureTooLarge, TintypeError
from artifacts.settings import Settings
from serving.api import app, query
from serving.api.app import Application
from serving.api.bodies import Bodies, Gone, Receive
from serving.api.negotiation import JSON
from serving.api.predict import PATH
from serving.api.uploads import raw
from serving.board import Board
from serving.errors import BadRequest
from serving.records import Record
from serving.telemetry.recorder import REQUEST_ID

THREADS = 64  # requests that Flask works on at a time
_ANY = ("", "*/*", JSON)  # values of Accept that need no reading
_CLOSE = (b"connection", b"close")

Headers = list[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Front:
    """Bodies in whole, then to whoever answers."""

    def __init__(self, application: Application, settings: Settings) -> None:
        self._app = application
        self.draining = application.state.draining
        self._bodies = Bodies(settings)
        self._flask = WSGIMiddleware(application.flask, workers=THREADS)  # type: ignore[arg-type] # it is one
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="predict")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = dict(scope["headers"])
        try:
            self._bodies.check(_length(headers))
            if not scope["query_string"].isascii():
                raise BadRequest("the query must be percent-encoded; received bytes beyond ASCII")
            body = await self._bodies.read(receive)
        except TintypeError as error:
            record = self._begin(scope, headers)
            await self._bodies.discard(receive)
            await self._send(self._app.problems.of(error, record), record, send, close=True)
        except Gone:
            pass
        else:
            with self._bodies.holding(len(body)):
                if _is_raw(scope, headers):
                    await self._predict(scope, headers, body, send)
                else:
                    await self._flask(scope, _again(body), self._closing(send))  # type: ignore[arg-type] # as above

    async def _predict(self, scope: Scope, headers: dict[bytes, bytes], data: bytes, send: Send) -> None:
        """One picture, by the shortest way that its model has."""
        record = self._begin(scope, headers)
        try:
            body = await self._answer(scope["query_string"].decode(), data, record)
        except TintypeError as error:
            await self._send(self._app.problems.of(error, record), record, send)
        except Exception as error:  # noqa: BLE001 - as Flask does for its routes
            await self._send(self._app.problems.defect(error, record), record, send)
        else:
            await self._send_json(orjson.dumps(body), record, send)

    async def _answer(self, query_string: str, data: bytes, record: Record) -> dict[str, Any]:
        wanted, predictor = query.parse(query_string), self._app.predictor
        upload = raw(data)
        model = predictor.open_model(wanted, record)
        if model and model.loop_lane:
            try:
                return await predictor.predict_on_the_loop(model, model.loop_lane, wanted.top_k, data, record)
            except PictureTooLarge:
                pass  # for the loop, not for a thread
        loop = asyncio.get_running_loop()

        def answer() -> dict[str, Any]:
            return predictor.predict(predictor.model(wanted, record), wanted.top_k, [upload], record)

        return await loop.run_in_executor(self._threads, answer)

    def _begin(self, scope: Scope, headers: dict[bytes, bytes]) -> Record:
        given, parent = headers.get(b"x-request-id", b""), headers.get(b"traceparent", b"")
        return self._app.recorder.begin(
            scope["method"], scope["path"], given.decode("latin-1"), parent.decode("latin-1")
        )

    async def _send_json(self, body: bytes, record: Record, send: Send) -> None:
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (_REQUEST_ID, record.request_id.encode()),
        ]
        await self._finish(HTTPStatus.OK, headers, body, record, send)

    async def _send(self, response: Response, record: Record, send: Send, *, close: bool = False) -> None:
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
        headers.append((_REQUEST_ID, record.request_id.encode()))
        if close:  # what is left of the body would be taken for the next request
            headers.append(_CLOSE)
        await self._finish(response.status_code, headers, response.get_data(), record, send)

    async def _finish(self, status: int, headers: Headers, body: bytes, record: Record, send: Send) -> None:
        if self.draining.is_set():
            headers.append(_CLOSE)
        record.status = status
        record.total = perf_counter() - record.began
        self._app.sink.add(record)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _closing(self, send: Send) -> Send:
        """While the server drains, clients are told to come back on another connection."""
        if not self.draining.is_set():
            return send

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _CLOSE]
            await send(message)

        return sending


_REQUEST_ID = REQUEST_ID.lower().encode()


def create_front(settings: Settings, shared: Path, board: Board) -> Front:
    """The application of one web process, with its models loaded.

    Raises:
        NoRuntime: the settings ask for a runtime or device that is not to be had here.
    """
    return Front(app.build(settings, shared, board), settings)


def _length(headers: dict[bytes, bytes]) -> int:
    declared = headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() else 0


def _is_raw(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether it is one picture as the raw body, for an answer in JSON."""
    if (
        scope["path"] != PATH
        or scope["method"] != "POST"
        or not headers.get(b"content-type", b"").startswith(b"image/")
    ):
        return False
    return headers.get(b"accept", b"").decode("latin-1") in _ANY


def _again(body: bytes) -> Receive:
    """A body that is here already, as a client sends it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive
