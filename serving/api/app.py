"""The Flask application: settings and live models in, blueprints on, every error out as a problem document."""

import os
from pathlib import Path

from flask import Flask, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from artifacts import settings as settings_module
from artifacts.errors import TintypeError
from artifacts.settings import MEGABYTE, Settings
from serving.api import console, health, metrics, models, predict
from serving.api.predictor import Predictor
from serving.api.problems import Problems
from serving.api.state import State
from serving.api.uploads import Receiving
from serving.records import RECORD
from serving.telemetry.recorder import Recorded
from serving.telemetry.sink import open_sink


def create_app(settings: Settings | None = None, shared: Path | None = None) -> Flask:
    """The application, with what is in production loaded: only the first request after a deploy waits for a model.

    Args:
        settings: default: those of the environment.
        shared: a folder in which the web processes of one server leave their metrics for each other.
    """
    settings = settings or settings_module.read(os.environ)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_mb * MEGABYTE
    app.config["MAX_FORM_PARTS"] = settings.max_pictures + 1  # one more, so that our own sentence says it
    state = State(settings)
    state.models.ready()
    app.extensions["tintype"] = state
    predictor, receiving, problems = Predictor(state.models, settings), Receiving(), Problems(settings)
    app.register_blueprint(predict.blueprint(predictor, receiving, settings))
    app.register_blueprint(models.blueprint(state.models.store))
    app.register_blueprint(health.blueprint(state))
    app.register_blueprint(console.blueprint())
    sink = open_sink(settings, app.url_map, state.text, shared, os.environ)
    app.register_blueprint(metrics.blueprint(sink, state.workers))
    _handle_errors(app, problems)
    sink.start()
    raw = predict.RawPredictions(app.wsgi_app, predictor, receiving, problems, settings)
    app.wsgi_app = Recorded(raw, sink)  # type: ignore[method-assign] # Flask's documentation does so
    return app


def _handle_errors(app: Flask, problems: Problems) -> None:
    app.register_error_handler(TintypeError, lambda error: problems.of(error, request.environ[RECORD]))
    app.register_error_handler(RequestEntityTooLarge, lambda _: problems.too_large(request.environ[RECORD]))
    app.register_error_handler(HTTPException, lambda e: problems.http(e, request.path, request.environ[RECORD]))
    app.register_error_handler(Exception, lambda error: problems.defect(error, request.environ[RECORD]))
