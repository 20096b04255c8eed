"""The body of POST /trainings, checked, and made into an order."""

import json
from pathlib import Path
from typing import Any

from flask import Request

from artifacts.data_sets import NAMED
from artifacts.held_out import REQUIREMENT
from artifacts.manifest import PRECISIONS
from artifacts.settings import Settings
from artifacts.store import check_name
from serving.api import callers, fields
from serving.api.orders import idempotency_key
from serving.comparison import requirement
from serving.errors import BadRequest
from serving.jobs.roots import find_folder
from serving.jobs.store import Key
from serving.trainings.training import REQUEST, Order

FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "data": str,
    "preset": str,
    "set": dict,
    "precision": str,
    "deploy": bool,
    "canary": (int, float),
    "seconds": (int, float),
    "require": str,
}
CANARY_SECONDS, MOST_SECONDS = 600, 30 * 86_400
_LONGEST = 200  # characters of what is told back


def read_order(request: Request, settings: Settings) -> tuple[Order, Key | None]:
    """Read the body.

    Raises:
        BadRequest, WrongMediaType, WrongUse: it makes no sense.
        NotNow: a folder is out of reach.
    """
    given = fields.read(request, FIELDS)
    if missing := [name for name in ("name", "data") if not given.get(name)]:
        raise BadRequest(f'{" and ".join(missing)} must be given, as in {{"name": "pets", "data": "pets"}}')
    canary = given.get("canary")
    if canary is not None and not 0 < canary <= 1:
        raise BadRequest(f"canary must be a share above 0 and up to 1; received {canary}")
    if not 0 < given.get("seconds", CANARY_SECONDS) <= MOST_SECONDS:
        raise BadRequest(f"seconds must be above 0 and up to {MOST_SECONDS:,}; received {given['seconds']}")
    order = Order(
        name=check_name(given["name"]),
        data=_data(given["data"], settings),
        preset=given.get("preset") or None,
        overrides=_overrides(given.get("set", {})),
        precisions=_precisions(given.get("precision", "")),
        deploy=given.get("deploy", canary is not None),
        canary=canary,
        seconds=given.get("seconds", CANARY_SECONDS),
        require=requirement.parse(given.get("require", REQUIREMENT)).text,
        source=REQUEST,
        who=callers.note(request, "").who,
    )
    return order, idempotency_key(request, json.dumps(sorted(given.items())))


def _data(text: str, settings: Settings) -> str:
    """A named data set, or a folder below one of the roots that may be read."""
    if text in NAMED:
        return text
    for root in settings.folders:
        place = find_folder(root, text)
        if place and isinstance(place[0], Path):
            return str(place[0])
    known = ", ".join(NAMED)
    where = "under the roots that TINTYPE_FOLDERS allows" if settings.folders else "here: TINTYPE_FOLDERS is not set"
    raise BadRequest(f"data is {known}, or a folder; there is no folder {text[:_LONGEST]!r} {where}")


def _precisions(text: str) -> str | None:
    """`fp32,int8`; None for all."""
    if text and not set(text.split(",")) <= set(PRECISIONS):
        raise BadRequest(f"precision must be some of {','.join(PRECISIONS)}; received {text[:_LONGEST]!r}")
    return text or None


def _overrides(given: dict[str, Any]) -> dict[str, str]:
    """Of the recipe; their names and values are read by the training itself."""
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise BadRequest(f"set takes texts and numbers, such as {{'epochs': 3}}; received {key[:_LONGEST]!r}")
    return {key: str(value) for key, value in given.items()}
