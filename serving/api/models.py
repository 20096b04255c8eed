"""GET /models, GET /models/<name>: what there is and what answers."""

from typing import Any

from flask import Blueprint

from artifacts.store import check_name
from serving.engine.live import LiveModels


def blueprint(live: LiveModels) -> Blueprint:
    """The routes, on the store of the live models."""
    routes = Blueprint("models", __name__)

    @routes.get("/models")
    def every() -> dict[str, Any]:
        return {"models": live.store.catalogue()}

    @routes.get("/models/<name>")
    def one(name: str) -> dict[str, Any]:
        return {"name": name, "versions": live.store.catalogue(check_name(name))}

    return routes
