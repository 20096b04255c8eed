"""The body of a request that changes something: a small JSON object whose fields are known."""

import difflib
import json
from collections.abc import Mapping
from typing import Any

from flask import Request

from serving.access.keys import contains_key
from serving.errors import BadRequest, WrongMediaType

JSON = "application/json"


def read(request: Request, fields: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """The object in a body; none at all is an empty one.

    Args:
        request: whose body it is.
        fields: each name that may come, and what JSON may have there (bool is no int).

    Raises:
        WrongMediaType: it is something else than JSON.
        BadRequest: it is no object, has a field that is unknown or of another type, or holds an API key.
    """
    data = request.get_data()
    if not data.strip():
        return {}
    if request.mimetype != JSON:
        raise WrongMediaType(f"send {JSON}; received {request.mimetype[:80]!r}")
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(given, dict):
        raise BadRequest(f"the body must be an object of {', '.join(fields)}")
    refuse_keys(given)
    for name, value in given.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0)[0]
            raise BadRequest(f"there is no field {name[:80]!r}; did you mean {near!r}?")
        wanted = fields[name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            names = wanted if isinstance(wanted, tuple) else (wanted,)
            kinds = " or ".join(_KINDS[each] for each in names)
            raise BadRequest(f"{name} must be {kinds}; received {json.dumps(value)[:80]}")
    return given


def refuse_keys(given: dict[str, Any]) -> None:
    """See that nothing is kept, or told to others, that holds an API key.

    Raises:
        BadRequest: something does.
    """
    for name, value in given.items():
        if contains_key(name) or contains_key(json.dumps(value)):
            raise BadRequest(f"{name[:80]} holds an API key, which belongs into Authorization and nowhere else")


_KINDS = {int: "a whole number", str: "a text", float: "a number", bool: "true or false", dict: "an object"}
