"""GET /models, GET /models/<name>: what there is, what answers, and who saw to that."""

from typing import Any

from flask import Blueprint

from artifacts import audit, rollouts
from artifacts.errors import BadBundle
from artifacts.store import Store, check_name
from serving.api.state import Models

AUDIT_LINES = 50  # the last ones
ROLLOUTS = 10  # the last ones


def blueprint(models: Models) -> Blueprint:
    """The routes, on the models of this process."""
    routes, store = Blueprint("models", __name__), models.store

    @routes.get("/models")
    def every() -> dict[str, Any]:
        live = [model.bundle.identity(model.variant) for model in models.answering()]
        return {"models": store.catalogue(), "live": live, "refused": models.refused()}

    @routes.get("/models/<name>")
    def one(name: str) -> dict[str, Any]:
        versions = store.catalogue(check_name(name))
        audited = audit.lines(store.root / name, AUDIT_LINES)
        told = [rollout.told() for rollout in rollouts.history(store.root / name, ROLLOUTS)]
        return {
            "name": name,
            "versions": versions,
            "aliases": _aliases(store, name),
            "audit": audited,
            "rollouts": told,
        }

    return routes


def _aliases(store: Store, name: str) -> dict[str, int]:
    """Nothing when they cannot be read, which each version says as well."""
    try:
        return store.aliases(name)
    except BadBundle:
        return {}
