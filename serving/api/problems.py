"""Every error as a problem document (RFC 9457), with our stable `code`."""

import json
import logging
from http import HTTPStatus
from typing import Any

from flask import Response
from werkzeug.exceptions import HTTPException

from artifacts.errors import TintypeError
from artifacts.settings import Settings
from serving.access.keys import hidden
from serving.errors import InsufficientScope, KeyRequired, QueueFull, RateLimited
from serving.records import Record

log = logging.getLogger(__name__)


class Problems:
    """Errors as answers; each is noted in the record of its request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def of(self, error: TintypeError, record: Record) -> Response:
        """One of our own: its sentence is meant for the client."""
        sentence = str(error).replace(f"{self._settings.models}/", "")  # where the store lies is no client's business
        return _problem(record, error.status, error.code, sentence, _headers(error))

    def too_large(self, record: Record) -> Response:
        """A request beyond what the server reads."""
        detail = (
            f"the request has more than {self._settings.max_body_mb} MB, {self._settings.max_pictures} pictures, or "
            "500 kB of text fields; send it in parts, or raise TINTYPE_MAX_BODY_MB or TINTYPE_MAX_PICTURES"
        )
        return _problem(record, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)

    def http(self, error: HTTPException, path: str, record: Record) -> Response:
        """What Flask itself found wrong."""
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        code = HTTPStatus(status).name.lower()
        if status == HTTPStatus.NOT_FOUND:
            detail = f"there is no path {path}; /openapi.json lists those that there are"
            return _problem(record, status, code, detail)
        allowed = {key: value for key, value in error.get_headers() if key == "Allow"}
        detail = f"use {allowed['Allow']} here" if allowed else error.description or HTTPStatus(status).description
        return _problem(record, status, code, detail, allowed)

    def defect(self, error: Exception, record: Record) -> Response:
        """Anything else; the log has it, the client needs not."""
        log.error("a defect, in request %s: %r", record.request_id, error, exc_info=error)
        detail = f"this is a defect of the server; its log says more, under {record.request_id}"
        return _problem(record, HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail)


def _headers(error: TintypeError) -> dict[str, str] | None:
    if isinstance(error, QueueFull | RateLimited):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, KeyRequired | InsufficientScope):
        return {"WWW-Authenticate": error.challenge}
    return None


def _problem(record: Record, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    record.outcome = code
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": hidden(detail),  # a sentence tells what came, and that may be a key in the wrong place
    }
    return Response(json.dumps(body), status, headers, content_type="application/problem+json")
