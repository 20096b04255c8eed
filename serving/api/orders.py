"""The body of POST /jobs: a folder, a manifest or pictures, and the model; checked, and made into an order."""

import difflib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flask import Request

from artifacts import files
from artifacts.settings import Settings
from artifacts.store import Reference, check_name
from serving.access.keys import hidden
from serving.api.fields import refuse_keys
from serving.api.state import Models
from serving.api.uploads import Upload, uploads
from serving.errors import BadRequest, WrongMediaType
from serving.jobs.folders import Folder
from serving.jobs.manifest import MANIFESTS
from serving.jobs.roots import find_folder, find_manifest
from serving.jobs.store import PRIORITIES, PRIORITY, Key, Order
from serving.jobs.webhook import check
from serving.records import RECORD, Record

FIELDS = ("folder", "manifest", "model", "version", "alias", "priority", "webhook")
SOURCES = FIELDS[:2]
KEY = "Idempotency-Key"
_KEY_LENGTH = 255
_SAFE = re.compile(r"[^\w.\- ]+")
_NAME_LENGTH = 100  # of an uploaded file's name that is kept


class Asked(NamedTuple):
    """What a request asks for."""

    order: Order
    fill: Callable[[Path], None] | None  # puts the pictures of the request into a folder
    key: Key | None


def read_order(request: Request, models: Models, settings: Settings) -> Asked:
    """Read the body.

    Raises:
        BadRequest, WrongMediaType, NoPicture, TooLarge: it makes no sense.
        NotNow: it wants a webhook, and there is nothing to sign it with.
        UnknownModel, ModelRequired, BadBundle: its model is not to be had.
    """
    if request.mimetype == "multipart/form-data":
        pictures = uploads(request, settings.max_pictures)
        given: dict[str, Any] = _checked(request.form.to_dict())
        place: tuple[Folder | None, str] = None, ""
        body = json.dumps([sorted(given.items()), [(each.name, files.sha256(each.data)) for each in pictures]])
    else:
        pictures, given = [], _checked(_json(request))
        place = _place(given, settings)
        body = json.dumps(sorted(given.items()))
    reference = Reference(_name(given, models), _whole(given, "version"), given.get("alias"))
    identity = models.get(reference).bundle.identity("")
    del identity["variant"]
    source = next((name for name in SOURCES if name in given), "upload")
    webhook = given.get("webhook", "")
    if "webhook" in given:
        check(webhook, settings)
    order = Order(place[0], identity, settings.max_pixels, _priority(given), source, place[1], webhook)
    return Asked(order, _filler(pictures) if pictures else None, idempotency_key(request, body))


def _json(request: Request) -> dict[str, Any]:
    if request.mimetype != "application/json":
        raise WrongMediaType(
            f"send application/json, or a multipart/form-data of pictures; received {request.mimetype!r}"
        )
    try:
        given = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(given, dict):
        raise BadRequest('the body must be an object such as {"folder": "holidays"}')
    return given


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    refuse_keys(given)
    for name, value in given.items():
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0)[0]
            raise BadRequest(f"there is no field {name[:80]!r}; did you mean {near!r}?")
        if not isinstance(value, str) and not (type(value) is int and name in {"version", "priority"}):
            raise BadRequest(f"{name} must be a text; received {str(value)[:80]!r}")
    if given.get("version") and given.get("alias"):
        raise BadRequest(f"give a version or an alias, not both; received {given['version']} and {given['alias']}")
    return given


def _place(given: dict[str, Any], settings: Settings) -> tuple[Folder, str]:
    """The folder of a job, and the name of the manifest in it.

    Raises:
        NotNow: one that may hold it is out of reach.
    """
    named = [name for name in SOURCES if name in given]
    if len(named) != 1:
        raise BadRequest(f"give a folder or a manifest; received {' and '.join(named) or 'neither'}")
    if not settings.folders:
        raise BadRequest("TINTYPE_FOLDERS is not set on the server, so its folders may not be read; send the pictures")
    (kind,) = named
    find = {"folder": find_folder, "manifest": find_manifest}[kind]
    for root in settings.folders:
        if found := find(root, given[kind]):
            return found
    ending = f" ending in {' or '.join(MANIFESTS)}" if kind == "manifest" else ""
    raise BadRequest(f"there is no {kind}{ending} {given[kind][:200]!r} under the roots that TINTYPE_FOLDERS allows")


def _name(given: dict[str, Any], models: Models) -> str:
    return check_name(given["model"]) if given.get("model") else models.only()


def _whole(given: dict[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", str(value)):
        raise BadRequest(f"{name} must be a whole number; received {str(value)[:40]!r}")
    return int(value)


def _priority(given: dict[str, Any]) -> int:
    priority = _whole(given, "priority")
    if priority is not None and priority not in PRIORITIES:
        raise BadRequest(f"priority must be from {PRIORITIES[0]} to {PRIORITIES[-1]}; received {priority}")
    return PRIORITY if priority is None else priority


def idempotency_key(request: Request, body: str) -> Key | None:
    """The Idempotency-Key of a request whose content is `body`; None without one. Callers do not share theirs.

    Raises:
        BadRequest: it is empty or too long.
    """
    text = request.headers.get(KEY)
    if text is None:
        return None
    if not 1 <= len(text) <= _KEY_LENGTH:
        raise BadRequest(f"{KEY} must have 1 to {_KEY_LENGTH} characters; received {len(text)}")
    record: Record = request.environ[RECORD]
    return Key(f"{record.caller} {text}" if record.caller else text, files.sha256(body.encode()))


def _filler(pictures: list[Upload]) -> Callable[[Path], None]:
    """Writes the pictures under their own names, as far as they are safe, numbered: in the order in which they came."""

    def fill(folder: Path) -> None:
        for number, picture in enumerate(pictures):
            name = _SAFE.sub("_", hidden(Path(picture.name or "picture").name))[-_NAME_LENGTH:]
            (folder / f"{number:06d}-{name}").write_bytes(picture.data)

    return fill
