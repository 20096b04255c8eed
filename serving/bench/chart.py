"""Where the lines of a chart over connections are drawn, in the units of its viewBox."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

WIDTH, HEIGHT = 460, 290
LEFT, RIGHT, TOP, BOTTOM = 62, 412, 16, 246  # the edges of the plot
TICKS = 5  # at most, above zero
MOST_FINE_TICKS = 10  # beyond, a logarithmic axis has whole decades
NAMES_APART = 17
NUMBERS_APART = 34

Lines = dict[str, list[float | None]]  # by name, a value for each level; None where nothing was measured


class Axis(NamedTuple):
    """Values of the ticks, and where a value lies: 0 at the bottom, 1 at the top."""

    ticks: list[float]
    place: Callable[[float], float]


def linear(most: float) -> Axis:
    """From zero to at least `most`, which is above zero, in round steps."""
    power = 10.0 ** math.floor(math.log10(most / TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * TICKS >= most)
    ticks = [step * n for n in range(math.ceil(most / step) + 1)]
    return Axis(ticks, lambda value: value / ticks[-1])


def logarithmic(least: float, most: float) -> Axis:
    """Around two values above zero, from one round number to another."""
    ticks = _round_numbers(least, most, (1, 2, 5))
    if len(ticks) > MOST_FINE_TICKS:
        ticks = _round_numbers(least, most, (1,))
    low, high = math.log(ticks[0]), math.log(ticks[-1])
    return Axis(ticks, lambda value: (math.log(value) - low) / (high - low))


def _round_numbers(least: float, most: float, factors: tuple[int, ...]) -> list[float]:
    """From the last one that is not above `least` to the first one that is above `most`."""
    powers = range(math.floor(math.log10(least)), math.floor(math.log10(most)) + 2)
    numbers = [factor * 10.0**power for power in powers for factor in factors]
    below = max(number for number in numbers if number <= least)
    above = min(number for number in numbers if number > most)
    return [number for number in numbers if below <= number <= above]


def chart(connections: list[int], titles: list[str], lines: Lines, axis: Axis) -> dict[str, Any]:
    """Everything that the template draws; `connections` rise, `titles` are shown over the points of each level."""
    xs = [_x(count, connections) for count in connections]
    drawn = []
    for name, values in lines.items():
        points = [
            {"x": x, "y": _y(axis.place(value)), "title": title}
            for x, value, title in zip(xs, values, titles, strict=True)
            if value is not None
        ]
        drawn.append({"name": name, "points": points})
    return {
        "lines": _named(drawn),
        "ticks": [(_y(axis.place(tick)), f"{tick:,.10g}") for tick in axis.ticks],
        "numbers": _apart(xs, connections),
        "edges": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM},
    }


def _named(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each line the place of its name: behind its last point, apart from the other names."""
    bottom = -math.inf
    for line in sorted(lines, key=lambda line: line["points"][-1]["y"]):
        line["label"] = bottom = max(line["points"][-1]["y"], bottom + NAMES_APART)
    for line in lines:  # the lowest may have been pushed below the plot
        line["label"] -= max(0, bottom - BOTTOM)
    return lines


def _apart(xs: list[float], connections: list[int]) -> list[tuple[float, str]]:
    """The numbers below the axis that find room beside one another."""
    shown: list[tuple[float, str]] = []
    for x, count in zip(xs, connections, strict=True):
        if not shown or x - shown[-1][0] >= NUMBERS_APART:
            shown.append((x, f"{count:,}"))
    return shown


def _x(count: int, connections: list[int]) -> float:
    low, high = math.log2(connections[0]), math.log2(connections[-1])
    return round(LEFT + ((math.log2(count) - low) / (high - low) if high > low else 0.5) * (RIGHT - LEFT), 1)


def _y(place: float) -> float:
    return round(BOTTOM - place * (BOTTOM - TOP), 1)
