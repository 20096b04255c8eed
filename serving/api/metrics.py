"""GET /metrics: for Prometheus, of all processes that belong to this server."""

from collections.abc import Callable, Mapping

from flask import Blueprint, Response

from serving.api.drift import References
from serving.telemetry import drift
from serving.telemetry.exposition import CONTENT_TYPE, Snapshot, as_text
from serving.telemetry.sink import Sink


def blueprint(sink: Sink, workers: Callable[[], Mapping[str, Snapshot]], references: References) -> Blueprint:
    """The one route.

    Args:
        sink: of this web process; it knows the others.
        references: of the store's versions, to tell of drift.
        workers: those of other machines by name; none while they cannot be asked, for it must not raise.
    """
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        windows = sink.windows()
        drifted = as_text(drift.families(windows, references.every(windows)))
        return Response(sink.scrape(workers()) + drifted, content_type=CONTENT_TYPE)

    return routes
