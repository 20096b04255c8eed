"""The page of a comparison, and the list of all of a model's: self-contained, to be read without a network."""

import base64
import json
from pathlib import Path
from typing import Any

import jinja2

from artifacts import files, pixels
from artifacts.bundle import Bundle
from artifacts.errors import BadPicture
from serving.comparison.comparison import BROKEN, MENDED, OTHERWISE, SCHEMA_VERSION, Comparison
from serving.comparison.pictures import choose

TEMPLATES = Path(__file__).parent
INDEX = "index.html"
SIDE = 96  # pixels
AS_IT_IS = 4_000  # bytes: a picture under this size is shown as it is
CHANCE = 0.05  # above it, two equal models would often differ as much
TITLES = {
    BROKEN: ("Wrong only now", "the version in production was right"),
    MENDED: ("Right only now", "the version in production was wrong"),
    OTHERWISE: ("Wrong in another way", "neither is right"),
}
_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}


def write(path: Path, told: Comparison, candidate: Bundle, current: Bundle | None) -> None:
    """Write the page beside the comparison's file, and the list of all of them."""
    encoded = choose(candidate, current).encoded
    files.write_atomic(path.with_suffix(".html"), render(told, encoded))
    write_index(path.parent, candidate.name)


def render(told: Comparison, encoded: list[bytes]) -> str:
    """The page as HTML; `encoded`: the pictures that `told` counts by their place."""
    changed = told["changed"] or {"shown": []}
    groups = [
        {"kind": kind, "title": title, "text": text, "count": changed[kind], "pictures": shown}
        for kind, (title, text) in TITLES.items()
        if (shown := [_picture(each, encoded) for each in changed["shown"] if each["kind"] == kind])
    ]
    page = _environment().get_template("comparison.html")
    return page.render(told=told, rows=_rows(told), groups=groups, chance=_chance(told), index=INDEX)


def write_index(folder: Path, name: str) -> None:
    """The list of a model's comparisons, the newest first."""
    entries = []
    for path in folder.glob("*.json"):
        try:
            told = json.loads(path.read_bytes())
        except (OSError, ValueError):  # damaged: it will be measured anew
            continue
        if told.get("schema_version") == SCHEMA_VERSION:
            entries.append({"file": f"{path.stem}.html", **told})
    entries.sort(key=lambda each: (each["created"], each["file"]), reverse=True)
    page = _environment().get_template("comparisons.html")
    files.write_atomic(folder / INDEX, page.render(name=name, entries=entries))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": _percent, "points": _points}
    return environment


def _rows(told: Comparison) -> list[dict[str, Any]]:
    """A row a class: what fell most comes first."""
    now = told["candidate"]["scores"]["per_class"]
    was = told["current"]["scores"]["per_class"] if told["current"] else {}
    rows = []
    for label, figures in now.items():
        before = was.get(label) if label not in told["labels"]["added"] else None
        change = figures["recall"] - before["recall"] if before else None
        rows.append({"label": label, "now": figures, "was": before, "change": change})
    return sorted(rows, key=lambda row: (row["change"] is None, row["change"] or 0.0, row["label"]))


def _picture(each: dict[str, Any], encoded: list[bytes]) -> dict[str, Any]:
    data = encoded[each["place"]]
    kind = next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), None)
    if kind is None or len(data) > AS_IT_IS:
        try:
            data, kind = pixels.thumbnail(data, SIDE), "jpeg"
        except BadPicture:
            return {**each, "source": None}
    return {**each, "source": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}


def _chance(told: Comparison) -> str:
    """What the number of changed answers is worth."""
    if not told["changed"]:
        return ""
    broken, mended, chance = (told["changed"][key] for key in (BROKEN, MENDED, "chance"))
    if not broken and not mended:
        return "No picture is answered rightly by only one of them."
    if chance > CHANCE:
        return f"Two equally good models would differ as much by chance in {100 * chance:.0f} of 100 cases."
    rarely = "fewer than 1" if chance < 1 / 100 else f"{100 * chance:.0f}"
    return f"Two equally good models would differ as much by chance in {rarely} of 100 cases: one is better."


def _percent(value: float) -> str:
    """`97.22 %`."""
    return f"{100 * value:.2f}".rstrip("0").rstrip(".") + "\u00a0%"


def _points(value: float) -> str:
    """A difference of shares in points: `+1.2`, `−0.28`, `0`."""
    text = f"{abs(100 * value):.2f}".rstrip("0").rstrip(".")
    return text if text == "0" else f"{'−' if value < 0 else '+'}{text}"
