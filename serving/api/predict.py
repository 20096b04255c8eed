"""POST /predict: pictures in, labels out.

    query -> model -> uploads -> predictor -> JSON or CSV

One picture as the raw body is what nearly all clients send. `RawPredictions` answers that before Flask sees it: what
Flask does for a request takes longer than decoding a small picture. Whatever is out of the ordinary goes to the route.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Response, request

from artifacts.errors import TintypeError
from artifacts.settings import MEGABYTE, Settings
from serving.api import query
from serving.api.negotiation import JSON, render
from serving.api.predictor import Predictor
from serving.api.problems import Problems
from serving.api.uploads import Receiving, raw, uploads
from serving.errors import BadRequest
from serving.records import RECORD, Record

PATH = "/predict"
_ANY = (None, "*/*", JSON)  # values of Accept that need no reading

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def blueprint(predictor: Predictor, receiving: Receiving, settings: Settings) -> Blueprint:
    """The route, for every kind of request."""
    routes = Blueprint("predict", __name__)

    @routes.post(PATH)
    def predict() -> Response:
        record: Record = request.environ[RECORD]
        wanted = query.parse(request.environ["QUERY_STRING"])
        model = predictor.model(wanted, record)
        with receiving.one():
            pictures = uploads(request, settings.max_pictures)
        return render(predictor.predict(model, wanted.top_k, pictures, record), request.headers.get("Accept"))

    return routes


class RawPredictions:
    """A WSGI application that answers the raw body of one picture, and leaves all else to another application."""

    def __init__(
        self, rest: Application, predictor: Predictor, receiving: Receiving, problems: Problems, settings: Settings
    ) -> None:
        self._rest = rest
        self._predictor = predictor
        self._receiving = receiving
        self._problems = problems
        self._most = settings.max_body_mb * MEGABYTE

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as the route does, byte for byte."""
        length = self._length(environ)
        if not length:
            return self._rest(environ, start_response)
        try:
            body = self._answer(environ, length)
        except TintypeError as error:
            return self._problems.of(error, environ[RECORD])(environ, start_response)
        except Exception as error:  # noqa: BLE001 - as Flask does for its routes
            return self._problems.defect(error, environ[RECORD])(environ, start_response)
        start_response("200 OK", [("Content-Type", JSON), ("Content-Length", str(len(body)))])
        return (body,)

    def _length(self, environ: Environ) -> int:
        """Bytes of the body of a request that is answered here; 0 for any other."""
        if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] != "POST":
            return 0
        if environ.get("HTTP_ACCEPT") not in _ANY or not environ.get("CONTENT_TYPE", "").startswith("image/"):
            return 0
        length = environ.get("CONTENT_LENGTH", "")
        return int(length) if length.isdecimal() and int(length) <= self._most else 0

    def _answer(self, environ: Environ, length: int) -> bytes:
        record: Record = environ[RECORD]
        wanted = query.parse(environ["QUERY_STRING"])
        model = self._predictor.model(wanted, record)
        with self._receiving.one():
            data = environ["wsgi.input"].read(length)
        if len(data) < length:
            raise BadRequest(f"the body ended after {len(data):,} of {length:,} bytes; send it whole")
        return json.dumps(self._predictor.predict(model, wanted.top_k, [raw(data)], record)).encode()
