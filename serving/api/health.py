"""GET /health/live and /health/ready, for whoever restarts or routes."""

from typing import Any

from flask import Blueprint

from serving.api.state import State
from serving.errors import Draining, NoModel


def blueprint(state: State) -> Blueprint:
    """Live: the process answers. Ready: it takes requests, and a model does answer them."""
    routes = Blueprint("health", __name__, url_prefix="/health")

    @routes.get("/live")
    def alive() -> dict[str, Any]:
        return {"status": "live"}

    @routes.get("/ready")
    def ready() -> dict[str, Any]:
        if state.draining.is_set():
            raise Draining("this server was told to stop; it answers what it has and takes nothing new")
        models = state.models.ready()
        if not models:
            why = "".join(f"; {each['name']}: {each['reason']}" for each in state.models.refused())
            raise NoModel(f"no model can answer; run: tintype deploy NAME (see `tintype models`){why}")
        if state.mailbox:
            state.mailbox.check()
        identities = [model.bundle.identity(model.variant) for model in models]
        return {"status": "ready", "models": identities, "refused": state.models.refused()}

    return routes
