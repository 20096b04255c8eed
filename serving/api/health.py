"""GET /health/live and /health/ready, for whoever restarts or routes."""

from typing import Any

from flask import Blueprint

from serving.engine.live import LiveModels
from serving.errors import NoModel


def blueprint(live: LiveModels) -> Blueprint:
    """Live: the process answers. Ready: a model does, too."""
    routes = Blueprint("health", __name__, url_prefix="/health")

    @routes.get("/live")
    def alive() -> dict[str, Any]:
        return {"status": "live"}

    @routes.get("/ready")
    def ready() -> dict[str, Any]:
        models = live.ready()
        if not models:
            raise NoModel("no model can answer; run: tintype deploy NAME (see `tintype models`)")
        return {"status": "ready", "models": [model.identity for model in models]}

    return routes
