"""report/export.html: which variant is the fastest that passed, what each was measured to be, and how that was proven.

One page with everything in it, to be read without a network. Its figures are those of the manifest and no others.
"""

import math
from pathlib import Path
from typing import Any

import jinja2

from artifacts.bundle import INPUT, OUTPUT
from exporters import comparisons
from exporters.parity import AGREEMENT, FALL
from exporters.variants import BASE

TEMPLATES = Path(__file__).parent / "templates"
NOTHING = "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# The edges of a chart's plot, in the units of its viewBox.
WIDTH, HEIGHT = 460, 290
LEFT, RIGHT, TOP, BOTTOM = 68, 410, 16, 246
TICKS = 5  # at most, above zero
MOST_BATCHES = 9  # whose labels stand beside one another
LABELS_APART = 17
SQUASHED = 4  # a panel this many times slower than the other has a scale of its own

Manifest = dict[str, Any]


def render(name: str, manifest: Manifest) -> str:
    """The page as HTML.

    Args:
        name: of the model.
        manifest: as it is given to `artifacts.store.Store.publish`: without name, version, files, sha256.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"share": share, "difference": difference, "told": told, "figure": figure}
    return environment.get_template("export.html").render(
        name=name,
        comparisons=comparisons.INDEX,
        manifest=manifest,
        input_name=INPUT,
        output_name=OUTPUT,
        original=_original(manifest),
        verdict=verdict(manifest),
        chosen=fastest(manifest["variants"]),
        rows=_rows(manifest["variants"]),
        panels=panels(manifest),
        edges={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM},
        limits={"agreement": AGREEMENT, "fall": FALL},
    )


def verdict(manifest: Manifest) -> str:
    """What the export came to, in two or three sentences."""
    variants, left_out = manifest["variants"], manifest.get("left_out", {})
    best = fastest(variants)
    others = [name for name in variants if name != best]
    if "allowed" in variants[best]:
        standing = "the fastest, though it failed the gate and was allowed"
    elif not others:
        standing = "the only one that passed" if left_out else "the only variant"
    else:
        standing = "the fastest that passed"
    sentences = [f"{best} is {standing}: {_speed(variants, best)}.", _answers(manifest, best)]
    if allowed := [name for name in others if "allowed" in variants[name]]:
        sentences.append(f"{_and(allowed)} failed the gate and {_were(allowed)} allowed.")
    if left_out:
        sentences.append(f"{_and(left_out)} {_were(left_out)} left out.")
    return " ".join(sentences)


def fastest(variants: dict[str, Any]) -> str:
    """The name of the variant with the most images a second on one thread."""
    return max(variants, key=lambda name: variants[name]["images_per_second"])


def _speed(variants: dict[str, Any], best: str) -> str:
    """`5,120 images/s on one thread, 1.9 times fp32`."""
    rates = {name: variant["images_per_second"] for name, variant in variants.items()}
    said = f"{figure(rates[best])} images/s on one thread"
    if best != BASE and rates.get(BASE):
        return f"{said}, {_ratio(rates[best] / rates[BASE])} times {BASE}"
    others = ", ".join(f"{name}: {figure(rate)}" for name, rate in rates.items() if name != best)
    return f"{said} ({others})" if others else said


def _answers(manifest: Manifest, name: str) -> str:
    """How the answers of a variant compare with those of the model that it was made from."""
    parity = manifest["variants"][name]["parity"]
    part = "all" if parity["agreement"] == 1 else f"{share(parity['agreement'])} of"
    agree = f"Its labels agree with {_original(manifest)}'s on {part} {told(parity['pictures'])} pictures"
    if name == BASE:
        return f"{agree}, and no probability differs by more than {difference(parity['max_difference'])}."
    change = parity["accuracy_change"]
    if change is None:
        return f"{agree}; its accuracy was not measured."
    if not (points := _points(change)):
        return f"{agree}, and its accuracy is the same."
    unit, way = "point" if points == "1" else "points", "lower" if change < 0 else "higher"
    return f"{agree}, and its accuracy is {points} {unit} {way}."


def _original(manifest: Manifest) -> str:
    """What the variants were made from, in words."""
    return "the imported model" if "imported" in manifest else "the Keras model"


def _rows(variants: dict[str, Any]) -> list[dict[str, Any]]:
    """The table: a measure a row, a variant a column."""
    columns = [_column(variant, variants.get(BASE)) for variant in variants.values()]
    notes = {
        "images/s": "one thread, best batch",
        "latency": "one picture, one thread",
        "memory": "at the best batch",
        "change": "of accuracy, in points",
        "pictures": "that were compared",
        "largest difference": "of a probability",
    }
    return [
        {"title": title, "note": notes.get(title, ""), "cells": [column[title] for column in columns]}
        for title in columns[0]
    ]


def _column(variant: dict[str, Any], base: dict[str, Any] | None) -> dict[str, str]:
    """What the table says of one variant, by measure."""
    parity, rate, batch = variant["parity"], variant["images_per_second"], variant["best_batch"]
    one = {point["batch"]: point for point in variant["profile"] if point["threads"] == 1}
    compared = base is not None and base["images_per_second"] > 0
    change = parity["accuracy_change"]
    return {
        "gate": "allowed" if "allowed" in variant else "passed",
        "images/s": figure(rate),
        f"times {BASE}": _ratio(rate / base["images_per_second"]) if compared else NOTHING,
        "best batch": told(batch),
        "latency": f"{figure(one[1]['latency_ms'])} ms" if 1 in one else NOTHING,
        "memory": f"{figure(one[batch]['memory_mb'])} MB" if batch in one else NOTHING,
        "file": _size(variant["bytes"]),
        "accuracy": NOTHING if variant["accuracy"] is None else share(variant["accuracy"]),
        "change": NOTHING if change is None else _signed(change),
        "labels that agree": share(parity["agreement"]),
        "labels that differ": told(parity["differing_labels"]),
        "pictures": told(parity["pictures"]),
        "largest difference": difference(parity["max_difference"]),
    }


def panels(manifest: Manifest) -> list[dict[str, Any]]:
    """The chart: images/s over batch size with a line a variant, on one thread and on the most that were measured."""
    variants = manifest["variants"]
    points = [point for variant in variants.values() for point in variant["profile"]]
    batches = sorted({point["batch"] for point in points})
    threads = sorted({point["threads"] for point in points})
    highest = {count: max(p["images_per_second"] for p in points if p["threads"] == count) for count in threads}
    drawn = []
    for count in sorted({*threads[:1], *threads[-1:]}):
        most = max(highest[threads[0]], highest[threads[-1]])
        step, top = _scale(most if highest[count] * SQUASHED > most else highest[count])
        lines = [_line(name, variant, count, batches, top) for name, variant in variants.items()]
        lines = _labelled([line for line in lines if line["points"]])
        drawn.append(
            {
                "threads": count,
                "all": count == manifest["measured_on"]["cores"],
                "lines": lines,
                "rates": [(_y(rate, top), figure(rate)) for rate in (step * n for n in range(round(top / step) + 1))],
                "batches": [(_x(batch, batches), batch) for batch in _some(batches)],
                "table": [(batch, [_cell(line, batch) for line in lines]) for batch in batches],
            }
        )
    return drawn


def _line(name: str, variant: dict[str, Any], threads: int, batches: list[int], top: float) -> dict[str, Any]:
    """A variant's points in a panel, where they are drawn; `best` marks one."""
    measured = sorted((p for p in variant["profile"] if p["threads"] == threads), key=lambda point: point["batch"])
    fastest_batch = max(measured, key=lambda p: p["images_per_second"], default={"batch": None})["batch"]
    best = variant["best_batch"] if threads == 1 else fastest_batch
    points = [
        {**p, "x": _x(p["batch"], batches), "y": _y(p["images_per_second"], top), "best": p["batch"] == best}
        for p in measured
    ]
    return {"name": name, "points": points}


def _labelled(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each line the place of its name: behind its last point, apart from the other names."""
    bottom = -math.inf
    for line in sorted(lines, key=lambda line: line["points"][-1]["y"]):
        line["label"] = max(line["points"][-1]["y"], bottom + LABELS_APART)
        bottom = line["label"]
    for line in lines:  # the lowest may have been pushed below the plot
        line["label"] -= max(0, bottom - BOTTOM)
    return lines


def _cell(line: dict[str, Any], batch: int) -> dict[str, Any] | None:
    return next((point for point in line["points"] if point["batch"] == batch), None)


def _some(batches: list[int]) -> list[int]:
    return batches if len(batches) <= MOST_BATCHES else batches[::2]


def _scale(most: float) -> tuple[float, float]:
    """(step, top) of an axis from zero to at least `most`, with at most TICKS round steps."""
    power = 10.0 ** math.floor(math.log10(most / TICKS)) if most > 0 else 1.0
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS >= most)
    return step, step * max(1, math.ceil(most / step))


def _x(batch: int, batches: list[int]) -> float:
    low, high = math.log2(batches[0]), math.log2(batches[-1])
    return round(LEFT + (math.log2(batch) - low) / (high - low or 1) * (RIGHT - LEFT), 1)


def _y(rate: float, top: float) -> float:
    return round(BOTTOM - rate / top * (BOTTOM - TOP), 1)


def share(value: float) -> str:
    """`99.8 %`; what is not all is never rounded to 100 %."""
    return f"{_short(min(100 * value, 99.99) if value < 1 else 100)} %"


def difference(value: float) -> str:
    """`11.5`, `0.12`, `8.5·10⁻⁷`."""
    if abs(value) >= 1:
        return figure(value)
    if value == 0 or abs(value) >= 0.0001:  # noqa: PLR2004 - below, one would count zeros
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}"


def told(value: Any) -> str:
    """Any value of a manifest, for a person."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: NOTHING}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return difference(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(told, value)) or "none"
    return str(value)


def figure(value: float) -> str:
    """Three digits, or all before the point: `5,120`, `38.2`, `1.93`."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004
    return _short(value, digits)


def _short(value: float, digits: int = 2) -> str:
    """At most so many digits behind the point, and no zeros at their end."""
    whole, _, behind = f"{value:,.{digits}f}".partition(".")
    return f"{whole}.{behind}".rstrip("0").rstrip(".") if behind else whole


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value >= 1.1 else _short(value)  # noqa: PLR2004 - 1.04 is not 1.0


def _points(change: float) -> str:
    """A change of accuracy without its sign, in points; empty when there is none to speak of."""
    return "" if abs(change) < 0.00005 else _short(abs(100 * change))  # noqa: PLR2004 - 0.01 points


def _signed(change: float) -> str:
    return f"{'−' if change < 0 else '+'}{_points(change)}" if _points(change) else "0"


def _size(count: int) -> str:
    return f"{figure(count / 1e6)} MB" if count >= 1e6 else f"{figure(count / 1e3)} kB"  # noqa: PLR2004 - decimal units


def _and(names: Any) -> str:
    """`fp16`, `fp16 and int8`."""
    return " and ".join(names)


def _were(names: Any) -> str:
    return "was" if len(names) == 1 else "were"
