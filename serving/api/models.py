"""GET /models, GET /models/<name>: what there is and what answers."""

from typing import Any

from flask import Blueprint

from artifacts.store import Store, check_name


def blueprint(store: Store) -> Blueprint:
    """The routes, on a store."""
    routes = Blueprint("models", __name__)

    @routes.get("/models")
    def every() -> dict[str, Any]:
        return {"models": store.catalogue()}

    @routes.get("/models/<name>")
    def one(name: str) -> dict[str, Any]:
        return {"name": name, "versions": store.catalogue(check_name(name))}

    return routes
