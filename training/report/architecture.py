"""A network as a person draws it: boxes from top to bottom, branches side by side, blocks that look alike once."""

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import keras

from training.report.description import SMALL, activation, count, describe, shape
from training.report.graph import Graph, graph


@dataclass
class Box:
    """One layer, with the small ones before and after it that belong to it."""

    title: str
    shape: str  # of what leaves it
    parameters: int
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    kind = "box"

    @property
    def looks(self) -> tuple[Any, ...]:
        """Equal for boxes that look alike; how many channels leave them does not matter."""
        return (self.title, *self.before, None, *self.after, self.shape.rpartition(" × ")[0])


@dataclass
class Fork:
    """Ways that begin at the same layer and end at the same one; an empty way is a shortcut."""

    ways: list[list[Any]]  # of Box, Fork, Repeat
    meeting: Box | None  # None where a fork around this one ends at the same layer
    kind = "fork"

    @property
    def looks(self) -> tuple[Any, ...]:
        """As of a box."""
        ways = (tuple(item.looks for item in way) for way in self.ways)
        return (self.meeting and self.meeting.looks, *ways)

    @property
    def shape(self) -> str:
        """Of what leaves it."""
        return self.meeting.shape if self.meeting else ""

    @property
    def parameters(self) -> int:
        """Of all its layers."""
        mine = self.meeting.parameters if self.meeting else 0
        return mine + sum(item.parameters for way in self.ways for item in way)


@dataclass
class Repeat:
    """`times` blocks like `item` one after the other."""

    times: int
    item: Any
    shape: str  # of what leaves the last one
    parameters: int  # of all of them
    kind = "repeat"

    @property
    def looks(self) -> tuple[Any, ...]:
        """As of a box."""
        return (self.times, self.item.looks)


def drawing(model: keras.Model) -> list[Any]:
    """The network from its picture to its answer: a list of Box, Fork and Repeat."""
    found = graph(model)
    return _way(found.begin, None, found)


def _way(layer: keras.Operation | None, end: keras.Operation | None, found: Graph) -> list[Any]:
    """From `layer` to the one before `end`."""
    items: list[Any] = []
    drawn = False  # as the meeting of a fork
    while layer is not None and layer is not end:
        if not drawn:
            _append(items, layer)
        after, meeting = found.feeds[layer], found.meeting[layer]
        drawn = len(after) > 1
        if drawn:
            items.append(_fork(after, meeting, end, found))
        layer = meeting
    return _repeated(items)


def _fork(after: list[keras.Operation], meeting: keras.Operation, end: keras.Operation | None, found: Graph) -> Fork:
    between = [found.between(first, meeting) for first in after]
    last = None if meeting is end else _box(meeting)
    if sum(map(len, between)) > len(set().union(*between)):  # no chains and forks: ways that cross
        inside = set().union(*between)
        parameters = sum(count(layer.weights) for layer in inside if isinstance(layer, keras.Layer))
        return Fork([[Box(f"{len(inside)} layers whose ways cross", "", parameters)]], last)
    return Fork(sorted((_way(first, meeting, found) for first in after), key=len, reverse=True), last)


def _append(items: list[Any], layer: keras.Operation) -> None:
    """A small layer goes with the box that it follows; after a fork, normalisation with the one that it precedes."""
    box = _box(layer)
    previous = items[-1] if items else None
    target = previous.meeting if isinstance(previous, Fork) else previous
    begins = isinstance(previous, Fork) and isinstance(layer, keras.layers.BatchNormalization)
    if isinstance(layer, SMALL) and target and not begins:
        target.after.append(box.title)
        target.parameters += box.parameters
        return
    if isinstance(previous, Box) and previous.title in previous.before:  # small ones alone, so far
        box.before, box.parameters = previous.before + previous.after, box.parameters + previous.parameters
        items.pop()
    elif isinstance(layer, SMALL):
        box.before = [box.title]
    items.append(box)


def _box(layer: keras.Operation) -> Box:
    own = activation(layer)
    title = describe(layer)
    weights = layer.weights if isinstance(layer, keras.Layer) else []
    return Box(title, shape(layer), count(weights), after=[own] if own and own != title else [])


def _repeated(items: list[Any]) -> list[Any]:
    """Neighbours that look alike become one."""
    drawn = []
    for _, group in groupby(items, key=lambda item: item.looks):
        alike = list(group)
        parameters = sum(item.parameters for item in alike)
        drawn.append(Repeat(len(alike), alike[0], alike[-1].shape, parameters) if len(alike) > 1 else alike[0])
    return drawn
