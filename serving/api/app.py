"""The Flask application: settings and live models in, blueprints on, every error out as a problem document."""

import os
from pathlib import Path
from typing import NamedTuple

from flask import Flask, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from artifacts import settings as settings_module
from artifacts.errors import TintypeError
from artifacts.settings import MEGABYTE, Settings
from serving.access.guard import open_guard
from serving.api import console, deploys, drift, health, jobs, metrics, models, predict, trainings
from serving.api.predictor import Predictor
from serving.api.problems import Problems
from serving.api.state import State
from serving.board import Board
from serving.records import RECORD
from serving.rollouts.traffic import Traffic
from serving.telemetry.recorder import Recorded, Recorder
from serving.telemetry.sink import Sink, open_sink

LOOPBACK = "127.0.0.1"


class Application(NamedTuple):
    """The Flask application, and what the front before it shares with it."""

    flask: Flask
    state: State
    predictor: Predictor
    problems: Problems
    recorder: Recorder
    sink: Sink
    traffic: Traffic


def create_app(settings: Settings | None = None) -> Flask:
    """The application for any WSGI server; it cannot know at which address, so only `always` makes it ask for keys.

    Raises:
        WrongUse: keys are asked for, and there is none.
    """
    settings = settings or settings_module.read(os.environ)
    app = build(settings).flask
    if guard := open_guard(settings, LOOPBACK):

        @app.before_request
        def check() -> None:
            caller = guard.check(request.method, request.path, request.headers.get("Authorization", ""))
            request.environ[RECORD].caller = caller

    return app


def build(settings: Settings, shared: Path | None = None, board: Board | None = None) -> Application:
    """The application, with what is in production loaded: only the first request after a deploy waits for a model.

    Args:
        settings: of this process.
        shared: a folder in which the web processes of one server leave their metrics for each other.
        board: on which they note that they are at work.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_mb * MEGABYTE
    app.config["MAX_FORM_PARTS"] = settings.max_pictures + 1  # one more, so that our own sentence says it
    state = State(settings, board)
    state.models.ready()
    state.models.start()
    traffic = Traffic(state.models, settings)
    traffic.start()
    predictor, problems = Predictor(state.models, settings, traffic), Problems(settings)
    app.register_blueprint(predict.blueprint(predictor, settings))
    app.register_blueprint(models.blueprint(state.models))
    app.register_blueprint(deploys.blueprint(state.models.store, settings))
    app.register_blueprint(jobs.blueprint(state, settings))
    app.register_blueprint(trainings.blueprint(state, settings))
    app.register_blueprint(health.blueprint(state))
    app.register_blueprint(console.blueprint())
    sink = open_sink(settings, app.url_map, state.text, shared, os.environ)
    references = drift.References(state.models.store)
    app.register_blueprint(metrics.blueprint(sink, state.workers, references))
    app.register_blueprint(drift.blueprint(references, sink.windows, settings.drift_seconds))
    _handle_errors(app, problems)
    sink.start()
    recorder = Recorder()
    app.wsgi_app = Recorded(app.wsgi_app, recorder, sink)  # type: ignore[method-assign] # as Flask's documentation does
    return Application(app, state, predictor, problems, recorder, sink, traffic)


def _handle_errors(app: Flask, problems: Problems) -> None:
    app.register_error_handler(TintypeError, lambda error: problems.of(error, request.environ[RECORD]))
    app.register_error_handler(RequestEntityTooLarge, lambda _: problems.too_large(request.environ[RECORD]))
    app.register_error_handler(HTTPException, lambda e: problems.http(e, request.path, request.environ[RECORD]))
    app.register_error_handler(Exception, lambda error: problems.defect(error, request.environ[RECORD]))
