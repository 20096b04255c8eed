"""GET /models/<name>/drift: what a version is asked lately, beside the pictures that it was judged on."""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
from flask import Blueprint, Response, request

from artifacts import bundle as bundles
from artifacts.bundle import Bundle
from artifacts.census import FEATURES, Census
from artifacts.errors import TintypeError
from artifacts.store import Reference, Store, check_name
from serving.api import query
from serving.telemetry import drift
from serving.telemetry.drift import Shift
from serving.telemetry.windows import Version

HTML, JSON = "text/html", "application/json"
TEMPLATE = Path(__file__).parents[1] / "web" / "drift.html"
SHOWN = 24  # bins of a plot: those that have moved most
DIGITS = 4

Asked = Callable[[], Mapping[Version, Census]]


class References:
    """The census that each version carries, read once: a version never changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._found: dict[Version, Census | None] = {}

    def of(self, bundle: Bundle) -> Census | None:
        """That of a version; None where it carries none."""
        told = bundle.manifest.get("census")
        return Census.of_json(told) if told else None

    def every(self, versions: Mapping[Version, Census]) -> dict[Version, Census | None]:
        """Those of versions; None also where one is gone."""
        for version in versions:
            if version not in self._found:
                with suppress(TintypeError):
                    self._found[version] = self.of(bundles.read(self.store.path(*version)))
        return {version: self._found.get(version) for version in versions}


def blueprint(references: References, asked: Asked, seconds: float) -> Blueprint:
    """The one route.

    Args:
        references: of the store.
        asked: gives the windows of all processes of this server.
        seconds: of a window.
    """
    routes = Blueprint("drift", __name__)

    @routes.get("/models/<name>/drift")
    def one(name: str) -> Response:
        wanted = query.parse(request.query_string.decode())
        store = references.store
        version = store.resolve(Reference(check_name(name), wanted.version, wanted.alias))
        bundle = bundles.read(store.path(name, version))
        told = _told(bundle, references.of(bundle), asked().get((name, version), Census()), seconds)
        if request.accept_mimetypes.best_match([JSON, HTML]) == HTML:
            return Response(_page(told), content_type=f"{HTML}; charset=utf-8")
        return Response(json.dumps(told), content_type=JSON)

    return routes


def _told(bundle: Bundle, reference: Census | None, window: Census, seconds: float) -> dict[str, Any]:
    identity = bundle.identity("")
    del identity["variant"]
    told: dict[str, Any] = {"model": identity, "window": {"seconds": seconds, "pictures": window.pictures}}
    if reference is None:
        why = (
            f"{bundle.name}@{bundle.version} carries nothing to compare with: it is of an older export, or was imported"
        )
        return {**told, "reference": None, "level": drift.LEVELS[0], "features": {},
                "detail": f"{why} without labelled pictures; export it again"}  # fmt: skip
    shifts = drift.shifts(reference, window)
    features = {feature: _feature(shifts[feature]) for feature in FEATURES}
    return {**told, "reference": {"pictures": reference.pictures}, "level": drift.worst(shifts), "features": features}


def _feature(shift: Shift) -> dict[str, Any]:
    known = math.isfinite(shift.by_chance)
    bins = [{"bin": name, "reference": round(r, DIGITS), "window": round(w, DIGITS)} for name, r, w in shift.bins]
    return {
        "psi": round(shift.psi, DIGITS) if known else None,
        "by_chance": round(shift.by_chance, DIGITS) if known else None,
        "level": shift.level,
        "bins": bins,
    }


def _page(told: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    plots = {feature: _plotted(each["bins"]) for feature, each in told["features"].items()}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(told=told, plots=plots, shown=SHOWN)


def _plotted(bins: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bins that a plot has room for, in their order."""
    moved = sorted(bins, key=lambda each: abs(each["window"] - each["reference"]), reverse=True)[:SHOWN]
    return [each for each in bins if each in moved]
