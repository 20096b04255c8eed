"""One picture as the raw body, answered on the event loop: no ASGI, no Flask, no change of threads.

What those do for a request takes longer than decoding a small picture, and nearly all requests are one picture. Only
what is in order comes this way; whatever is wrong with a head or a query is found out, and said, by Flask. The answers
are the same, byte for byte but for the timings.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import orjson
from flask import Response

from artifacts.errors import PictureTooLarge, TintypeError
from serving.access.guard import Guard
from serving.access.keys import Key
from serving.api import query
from serving.api.app import Application
from serving.api.bodies import SECONDS
from serving.api.negotiation import JSON
from serving.api.predict import PATH, STICKY
from serving.api.predictor import Body
from serving.api.uploads import raw
from serving.errors import TooSlow
from serving.records import Record
from serving.telemetry.recorder import REQUEST_ID

if TYPE_CHECKING:
    from serving.api.state import Model
    from serving.http import Exchange, Headers
    from serving.lanes.answer import Answer

MOST = 1_000_000  # bytes of a body; decoding a larger one takes so long that the rest does not matter
MOST_OF_ALL = 64 * MOST  # that are being received at a time; who comes then takes the long way, which counts what came
THREADS = 16  # for pictures that turn out to have too many pixels for the loop, and for canaries
_PATH = PATH.encode()
_JSON = JSON.encode()
_ANY = (b"", b"*/*", _JSON)  # values of Accept that need no reading
_REQUEST_ID = REQUEST_ID.lower().encode()
_STICKY = STICKY.lower().encode()


class Call(NamedTuple):
    """A request whose model is known."""

    model: "Model"
    top_k: int
    data: bytes
    record: Record
    exchange: "Exchange"


class Direct:
    """The short way of one web process."""

    seconds = SECONDS  # that a client may take to send a body

    def __init__(self, application: Application, guard: Guard | None = None) -> None:
        self._app = application
        self._guard = guard
        self.held = 0  # bytes that are being received, as declared
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="not on the loop")

    def takes(self, method: bytes, url: bytes, headers: "Headers") -> tuple[int, Key | None]:
        """The bytes of the body to receive whole, and whose request it is.

        0 when it is not one raw picture for an answer in JSON, or has no key that it needs.
        """
        path, _, query_string = url.partition(b"?")
        if path != _PATH or method != b"POST" or not query_string.isascii() or b"#" in query_string:
            return 0, None
        given = dict(headers)
        length = given.get(b"content-length", b"")
        size = int(length) if length.isdigit() and len(length) <= len(str(MOST)) else 0
        fits = (
            0 < size <= min(MOST, MOST_OF_ALL - self.held)
            and given.get(b"content-type", b"").startswith(b"image/")
            and given.get(b"accept", b"") in _ANY
            and b"expect" not in given
            and b"upgrade" not in given
            and b"origin" not in given  # of a web page: who may read the answer is said elsewhere
        )
        if not fits:
            return 0, None
        key = None
        if self._guard:
            try:
                key = self._guard.identify("POST", PATH, given.get(b"authorization", b"").decode("latin-1"))
            except TintypeError:
                return 0, None
        self.held += size
        return size, key

    def release(self, size: int) -> None:
        """As many bytes are not being received any more."""
        self.held -= size

    def answer(self, url: bytes, headers: "Headers", body: bytes, exchange: "Exchange") -> bool:
        """Answer now or later; False when the model is not one for the loop, or not open yet, or not there at all."""
        record = self._begin(dict(headers))
        if exchange.key:
            record.caller = exchange.key.name
        try:
            wanted = query.parse(url.partition(b"?")[2].decode())
            model = self._app.predictor.open_model(wanted, record)
        except TintypeError:
            return False
        if model is None or model.loop_lane is None:
            return False
        call = Call(model, wanted.top_k, body, record, exchange)
        try:
            if self._guard:
                self._guard.count(exchange.key)
            if self._app.traffic.at_work and wanted.plain and self._by_canary(call, wanted, headers):
                return True
            future = self._app.predictor.ask(model, model.loop_lane, body, record)
        except Exception as error:  # noqa: BLE001 - as Flask does for its routes
            self._fail(call, error)
        else:
            future.add_done_callback(partial(self._answered, call))
        return True

    def _by_canary(self, call: Call, wanted: query.Query, headers: "Headers") -> bool:
        """Whether the version that is rolled out answers, in a thread: it may be slow, and the loop is production's."""
        key = wanted.sticky or dict(headers).get(_STICKY, b"").decode("latin-1")
        traffic, name = self._app.traffic, call.model.bundle.name
        work = traffic.canary(name, key)
        if work is None:
            traffic.copy(name, key, call.data)
            return False
        ask = partial(self._app.predictor.by_canary, work, call.model, call.top_k, [raw(call.data)], call.record)
        asyncio.get_running_loop().run_in_executor(self._threads, ask).add_done_callback(partial(self._predicted, call))
        return True

    def late(self, exchange: "Exchange") -> None:
        """A body did not come in time: say so, and hang up."""
        exchange.received()
        exchange.keep_alive = False
        error = TooSlow(f"the body did not come within {SECONDS:.0f} seconds")
        record = self._begin({})
        self._send(self._app.problems.of(error, record), record, exchange)

    def _begin(self, given: dict[bytes, bytes]) -> Record:
        request_id, parent = given.get(_REQUEST_ID, b""), given.get(b"traceparent", b"")
        return self._app.recorder.begin("POST", PATH, request_id.decode("latin-1"), parent.decode("latin-1"))

    def _answered(self, call: Call, future: "asyncio.Future[Answer]") -> None:
        """The lane has an answer, or an error."""
        try:
            body = self._app.predictor.tell(call.model, call.top_k, future.result(), call.record)
        except PictureTooLarge:  # for the loop, perhaps not for a thread
            loop = asyncio.get_running_loop()
            loop.run_in_executor(self._threads, self._predict, call).add_done_callback(partial(self._predicted, call))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(call, error)
        else:
            self._send_json(body, call)

    def _predict(self, call: Call) -> Body:
        return self._app.predictor.predict(call.model, call.top_k, [raw(call.data)], call.record)

    def _predicted(self, call: Call, future: "asyncio.Future[Body]") -> None:
        """A thread has an answer, or an error."""
        try:
            body = future.result()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(call, error)
        else:
            self._send_json(body, call)

    def _fail(self, call: Call, error: Exception) -> None:
        problems, record = self._app.problems, call.record
        answer = problems.of(error, record) if isinstance(error, TintypeError) else problems.defect(error, record)
        self._send(answer, record, call.exchange)

    def _send_json(self, body: Body, call: Call) -> None:
        data = orjson.dumps(body)
        headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(data))]
        self._finish(HTTPStatus.OK, headers, data, call.record, call.exchange)

    def _send(self, response: Response, record: Record, exchange: "Exchange") -> None:
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
        self._finish(response.status_code, headers, response.get_data(), record, exchange)

    def _finish(self, status: int, headers: "Headers", body: bytes, record: Record, exchange: "Exchange") -> None:
        headers.append((_REQUEST_ID, record.request_id.encode()))
        if self._app.state.draining.is_set():  # clients are told to come back on another connection
            exchange.keep_alive = False
        record.status = status
        record.total = perf_counter() - record.began
        self._app.sink.add(record)
        exchange.reply(status, headers, body)
