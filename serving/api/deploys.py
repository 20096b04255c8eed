"""PUT /models/<name>/aliases/<alias>, POST /models/<name>/rollback: which version answers.

A version is proven before its alias moves: every byte is verified, every variant answers its golden pictures, and what
goes into production is compared with what is there.
"""

from typing import Any

from flask import Blueprint, request

from artifacts.aliases import PRODUCTION
from artifacts.held_out import REQUIREMENT
from artifacts.settings import Settings
from artifacts.store import Check, Reference, Store, check_name
from serving.api import callers, fields
from serving.comparison import requirement
from serving.comparison.requirement import NONE
from serving.errors import BadRequest

MOST_VERSION = 10**18  # exclusive: as many digits as a folder's name may have


def blueprint(store: Store, settings: Settings) -> Blueprint:
    """The routes, on a store."""
    routes = Blueprint("deploys", __name__, url_prefix="/models")

    @routes.put("/<name>/aliases/<alias>")
    def move(name: str, alias: str) -> dict[str, Any]:
        given = fields.read(request, {"version": int, "why": str, "require": str})
        version = given.get("version")
        if version is None or not 1 <= version < MOST_VERSION:
            raise BadRequest(f'give a version of at least 1, as in {{"version": 3}}; received {version}')
        gate = _gate(store, settings, given.get("require", REQUIREMENT) if alias == PRODUCTION else NONE)
        note = callers.note(request, given.get("why", ""))
        moved = store.deploy(Reference(check_name(name), version=version), alias, gate, note)
        return _told(store, name, alias, moved)

    @routes.post("/<name>/rollback")
    def rollback(name: str) -> dict[str, Any]:
        given = fields.read(request, {"why": str})
        version = store.rollback(name, callers.note(request, given.get("why", "")))
        return _told(store, name, PRODUCTION, version)

    return routes


def _gate(store: Store, settings: Settings, require: str) -> Check:
    from serving.comparison.child import measure_in_a_child  # with ONNX Runtime: not in a process before workers
    from serving.comparison.gate import Gate

    return Gate(store, requirement.parse(require), measure_in_a_child(settings))


def _told(store: Store, name: str, alias: str, version: int) -> dict[str, Any]:
    return {"name": name, "alias": alias, "version": version, "aliases": store.aliases(name)}
