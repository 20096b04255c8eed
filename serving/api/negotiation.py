"""JSON or CSV, as the client's Accept says (RFC 9110, 12.5.1)."""

import csv
import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flask import Response
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from serving.errors import NotAcceptable

JSON, CSV = "application/json", "text/csv"
_UTF8 = "; charset=utf-8"
_KINDS = (JSON, CSV, JSON + _UTF8, CSV + _UTF8)  # the first is preferred; a client may name the charset, too
COLUMNS = ("file", "label", "confidence", "top", "error")


def render(body: Mapping[str, Any], accept: str | None) -> Response:
    """The answer of POST /predict, of the kind that `accept` prefers.

    As CSV (RFC 4180) it has a row for each picture, the model in X-Model, X-Model-Sha256 and X-Variant, and the timings
    in Server-Timing (W3C). A name in `file` is the client's own and stands as it came: a table for programs.

    Args:
        body: {"model": {…}, "predictions": […], "timings": {…}}.
        accept: the header, or None when there is none.

    Raises:
        NotAcceptable: it allows neither kind.
    """
    if kind(accept) == JSON:
        return Response(json.dumps(body), content_type=JSON)
    return Response(_table(body["predictions"]), headers=_headers(body), content_type=CSV + _UTF8)


@lru_cache(maxsize=256)  # clients send a few different ones, and parsing costs more than the rest of the answer
def kind(accept: str | None) -> str:
    """`application/json` or `text/csv`.

    Raises:
        NotAcceptable: neither is allowed.
    """
    if not accept:
        return JSON
    best = parse_accept_header(accept, MIMEAccept).best_match(_KINDS)
    if best is None:
        raise NotAcceptable(f"Accept must allow {JSON} or {CSV}; received {accept[:100]!r}")
    return best.partition(";")[0]


def _table(predictions: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for each in predictions:
        top = json.dumps(each["top"], ensure_ascii=False) if "top" in each else None
        error = "{code}: {message}".format_map(each["error"]) if "error" in each else None
        rows.writerow((each["file"], each.get("label"), each.get("confidence"), top, error))
    return text.getvalue().encode("utf-8", "backslashreplace")


def _headers(body: Mapping[str, Any]) -> dict[str, str]:
    model, timings = body["model"], body["timings"]
    return {
        "X-Model": f"{model['name']}@{model['version']}",
        "X-Model-Sha256": model["sha256"],
        "X-Variant": model["variant"],
        "Server-Timing": ", ".join(f"{name.removesuffix('_ms')};dur={ms}" for name, ms in timings.items()),
    }
