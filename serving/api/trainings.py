"""/trainings: order a new version of a model, watch it come about, stop it, read what it said."""

import json
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any

from flask import Blueprint, Response, request, send_file, url_for

from artifacts.settings import Settings
from artifacts.store import Store
from serving.api.jobs import PAGE, SILENCE, STREAM_SECONDS, TICK_SECONDS, WATCHERS, limit
from serving.api.state import State
from serving.api.training_orders import read_order
from serving.comparison.comparison import place_of
from serving.errors import NotFinished, NotNow, QueueFull
from serving.trainings.planning import start
from serving.trainings.progress import describe
from serving.trainings.store import Trainings, earlier_run
from serving.trainings.training import OVER, Training

NEEDED = "keras"  # of the extra `train`: where nobody else does it, this machine has to


def blueprint(state: State, settings: Settings) -> Blueprint:
    """The routes, on the trainings of the home folder, and the planning of these."""
    routes = Blueprint("trainings", __name__, url_prefix="/trainings")
    trainings = Trainings(settings.trainings)
    start(settings)
    _add_orders(routes, trainings, settings)
    _add_control(routes, trainings, settings)
    _add_words(routes, trainings, settings)
    _add_events(routes, trainings, settings, state.draining)
    return routes


def _add_orders(routes: Blueprint, trainings: Trainings, settings: Settings) -> None:
    @routes.post("")
    def create() -> Response:
        _check_trainer(settings)
        order, key = read_order(request, settings)
        after = earlier_run(Store(settings.models), settings.runs, order.name, order.preset)
        try:
            training = trainings.create(order, after, key)
        except OSError as error:
            raise NotNow(f"the training cannot be written down now ({error.strerror}); try again") from error
        answer = _json(describe(training, settings.runs), HTTPStatus.ACCEPTED)
        answer.headers["Location"] = url_for("trainings.one", name=training.id)
        return answer

    @routes.get("")
    def every() -> Response:
        most = limit(request.args.get("limit", str(PAGE)))
        page = trainings.page(most, request.args.get("before"))
        following = page[-1].id if len(page) == most else None
        return _json({"trainings": [describe(each, settings.runs) for each in page], "before": following})

    @routes.get("/<name>")
    def one(name: str) -> Response:
        return _json(describe(trainings.get(name), settings.runs))


def _add_control(routes: Blueprint, trainings: Trainings, settings: Settings) -> None:
    @routes.post("/<name>/cancel")
    def cancel(name: str) -> Response:
        return _json(describe(trainings.cancel(name), settings.runs))

    @routes.post("/<name>/resume")
    def resume(name: str) -> Response:
        return _json(describe(trainings.resume(name), settings.runs), HTTPStatus.ACCEPTED)


def _add_words(routes: Blueprint, trainings: Trainings, settings: Settings) -> None:
    @routes.get("/<name>/log")
    def said(name: str) -> Response:
        path = trainings.get(name).log
        if not path.exists():
            raise NotFinished(f"{name} has said nothing yet; its log is there when a trainer has begun with it")
        return send_file(path, "text/plain; charset=utf-8")

    @routes.get("/<name>/comparison")
    def comparison(name: str) -> Response:
        training = trainings.get(name)
        if told := training.comparison():
            versions = [told[side] and told[side]["version"] for side in ("candidate", "current")]
            page = place_of(settings.models / training.order.name, *versions).with_suffix(".html")
            if page.exists():
                return send_file(page, "text/html")
        raise NotFinished(f"{name} was not compared with anything yet, or there is nothing to compare it with")


def _add_events(routes: Blueprint, trainings: Trainings, settings: Settings, draining: threading.Event) -> None:
    watchers = threading.BoundedSemaphore(WATCHERS)

    @routes.get("/<name>/events")
    def events(name: str) -> Response:
        training = trainings.get(name)
        if not watchers.acquire(blocking=False):
            raise QueueFull(f"{WATCHERS} clients watch already; ask for /trainings/{name} every few seconds instead")
        answer = Response(_events(training, settings, draining), content_type="text/event-stream")
        answer.headers["Cache-Control"] = "no-store"
        answer.call_on_close(watchers.release)
        return answer


def _events(training: Training, settings: Settings, draining: threading.Event) -> Iterator[str]:
    """As those of a job: `progress` whenever something has changed, `end` when it is over."""
    end = time.monotonic() + STREAM_SECONDS
    last, silent = "", 0
    while True:
        told = describe(training, settings.runs)
        over = told["status"] in OVER
        text = json.dumps(told)
        if text != last:
            yield f"event: {'end' if over else 'progress'}\ndata: {text}\n\n"
            last, silent = text, 0
        elif silent >= SILENCE:
            yield ": still here\n\n"
            silent = 0
        if over or time.monotonic() > end or draining.wait(TICK_SECONDS):
            return
        silent += 1


def _check_trainer(settings: Settings) -> None:
    """Without workers a training is carried out on this machine, which must be able to."""
    if not settings.redis_url and not find_spec(NEEDED):
        raise NotNow(
            "this server cannot train: pip install 'tintype[train,serve]' here, or set TINTYPE_REDIS_URL and run "
            "tintype worker --queues train where that is installed"
        )


def _json(body: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")
