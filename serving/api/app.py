"""The Flask application: settings and live models in, blueprints on, every error out as a problem document."""

import json
import logging
import os
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from artifacts import settings as settings_module
from artifacts.errors import TintypeError
from artifacts.settings import Settings
from serving.api import console, health, models, predict
from serving.engine.live import LiveModels
from serving.errors import QueueFull

MEGABYTE = 1_000_000  # bytes

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> Flask:
    """The application, with what is in production loaded: only the first request after a deploy waits for a model."""
    settings = settings or settings_module.read(os.environ)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_mb * MEGABYTE
    app.config["MAX_FORM_PARTS"] = settings.max_pictures + 1  # one more, so that our own sentence says it
    live = LiveModels(settings)
    live.ready()
    app.extensions["tintype"] = live
    app.register_blueprint(predict.blueprint(live, settings))
    app.register_blueprint(models.blueprint(live))
    app.register_blueprint(health.blueprint(live))
    app.register_blueprint(console.blueprint())
    app.register_error_handler(TintypeError, lambda error: _mendable(error, settings))
    app.register_error_handler(RequestEntityTooLarge, lambda _: _too_large(settings))
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _defect)
    return app


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An error as RFC 9457 has it, with our stable `code`."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    return Response(json.dumps(body), status, headers, content_type="application/problem+json")


def _mendable(error: TintypeError, settings: Settings) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, QueueFull) else None
    sentence = str(error).replace(f"{settings.models}/", "")  # where the store lies is no client's business
    return problem(error.status, error.code, sentence, headers)


def _too_large(settings: Settings) -> Response:
    detail = (
        f"the request has more than {settings.max_body_mb} MB, {settings.max_pictures} pictures, or 500 kB of text "
        "fields; send it in parts, or raise TINTYPE_MAX_BODY_MB or TINTYPE_MAX_PICTURES"
    )
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)


def _http(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    code = HTTPStatus(status).name.lower()
    if status == HTTPStatus.NOT_FOUND:
        return problem(status, code, f"there is no path {request.path}; /openapi.json lists those that there are")
    allowed = {key: value for key, value in error.get_headers() if key == "Allow"}
    detail = f"use {allowed['Allow']} here" if allowed else error.description or HTTPStatus(status).description
    return problem(status, code, detail, allowed)


def _defect(error: Exception) -> Response:
    log.error("a defect: %r", error, exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "this is a defect of the server; its log says more"
    )
