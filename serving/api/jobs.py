"""/jobs: order a folder's classification, watch it, stop it, fetch its table."""

import json
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request, send_file, url_for

from artifacts.settings import Settings
from serving.api.orders import read_order
from serving.api.state import State
from serving.errors import BadRequest, NotFinished, NotNow, QueueFull
from serving.jobs.job import OVER, Job, Status
from serving.jobs.progress import describe
from serving.jobs.store import Jobs
from serving.planning import start_planning

FORMATS = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
PAGE, MOST = 50, 1000  # jobs of a page
WATCHERS = 16  # event streams of a process: each holds a thread
STREAM_SECONDS = 60.0  # after which a stream ends, and the client's own EventSource begins another
TICK_SECONDS = 0.5
SILENCE = 30  # ticks without news after which a comment shows that the stream is alive


def blueprint(state: State, settings: Settings) -> Blueprint:
    """The routes, on the jobs of the home folder, and the planning of these."""
    routes = Blueprint("jobs", __name__, url_prefix="/jobs")
    jobs = Jobs(settings.jobs)
    start_planning(settings)
    _add_orders(routes, jobs, state, settings)
    _add_control(routes, jobs)
    _add_results(routes, jobs)
    _add_events(routes, jobs, state.draining)
    return routes


def _add_orders(routes: Blueprint, jobs: Jobs, state: State, settings: Settings) -> None:
    @routes.post("")
    def create() -> Response:
        asked = read_order(request, state.models, settings)
        try:
            job = jobs.create(*asked)
        except OSError as error:
            raise NotNow(f"the job cannot be written down now ({error.strerror}); try again") from error
        answer = _json(describe(job), HTTPStatus.ACCEPTED)
        answer.headers["Location"] = url_for("jobs.one", name=job.id)
        return answer

    @routes.get("")
    def every() -> Response:
        most = limit(request.args.get("limit", str(PAGE)))
        page = jobs.page(most, request.args.get("before"))
        following = page[-1].id if len(page) == most else None
        return _json({"jobs": [describe(job) for job in page], "before": following})

    @routes.get("/<name>")
    def one(name: str) -> Response:
        return _json(describe(jobs.get(name)))


def _add_control(routes: Blueprint, jobs: Jobs) -> None:
    @routes.delete("/<name>")
    def delete(name: str) -> Response:
        jobs.delete(name)
        return Response(status=HTTPStatus.NO_CONTENT)

    @routes.post("/<name>/cancel")
    def cancel(name: str) -> Response:
        return _json(describe(jobs.cancel(name)))

    @routes.post("/<name>/resume")
    def resume(name: str) -> Response:
        return _json(describe(jobs.resume(name)), HTTPStatus.ACCEPTED)

    @routes.post("/<name>/retry-rejects")
    def retry_rejects(name: str) -> Response:
        return _json(describe(jobs.retry(name)), HTTPStatus.ACCEPTED)


def _add_results(routes: Blueprint, jobs: Jobs) -> None:
    @routes.get("/<name>/results")
    def results(name: str) -> Response:
        kind = request.args.get("format", "csv")
        if kind not in FORMATS:
            raise BadRequest(f"format must be {', '.join(FORMATS)}; received {kind[:40]!r}")
        job = _finished(jobs.get(name))
        return send_file(
            job.path / f"results.{kind}", FORMATS[kind], as_attachment=True, download_name=f"{name}.{kind}"
        )

    @routes.get("/<name>/contact-sheet")
    def contact_sheet(name: str) -> Response:
        return send_file(_finished(jobs.get(name)).path / "contact_sheet.html", "text/html")


def _add_events(routes: Blueprint, jobs: Jobs, draining: threading.Event) -> None:
    watchers = threading.BoundedSemaphore(WATCHERS)

    @routes.get("/<name>/events")
    def events(name: str) -> Response:
        job = jobs.get(name)
        if not watchers.acquire(blocking=False):
            raise QueueFull(f"{WATCHERS} clients watch already; ask for /jobs/{name} every few seconds instead")
        answer = Response(_events(job, draining), content_type="text/event-stream")
        answer.headers["Cache-Control"] = "no-store"
        answer.call_on_close(watchers.release)
        return answer


def _events(job: Job, draining: threading.Event) -> Iterator[str]:
    """Server-sent events (WHATWG HTML, 9.2): `progress` whenever something has changed, `end` when the job is over."""
    end = time.monotonic() + STREAM_SECONDS
    last, silent = "", 0
    while True:
        told = describe(job)
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


def _finished(job: Job) -> Job:
    status = job.status()
    if status != Status.SUCCEEDED:
        raise NotFinished(f"the job is {status}; its results are there when it has succeeded")
    return job


def limit(text: str) -> int:
    """How many are on a page.

    Raises:
        BadRequest: as many are not.
    """
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
        raise BadRequest(f"limit must be a whole number from 1 to {MOST}; received {text[:40]!r}")
    return int(text)


def _json(body: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")
