"""GET /metrics: for Prometheus, of all processes that belong to this server."""

from collections.abc import Callable, Mapping

from flask import Blueprint, Response

from serving.telemetry.exposition import CONTENT_TYPE, Snapshot
from serving.telemetry.sink import Sink


def blueprint(sink: Sink, workers: Callable[[], Mapping[str, Snapshot]]) -> Blueprint:
    """The one route.

    Args:
        sink: of this web process; it knows the others.
        workers: those of other machines by name; none while they cannot be asked, for it must not raise.
    """
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(sink.scrape(workers()), content_type=CONTENT_TYPE)

    return routes
