"""The layers of a network as a directed graph without cycles, from the picture to the answer."""

from dataclasses import dataclass

import keras

Layers = dict[keras.Operation, list[keras.Operation]]


@dataclass(frozen=True)
class Graph:
    """`feeds`: for each layer those that take its output. `meeting`: the first layer that all ways from it lead to."""

    begin: keras.Operation
    feeds: Layers
    meeting: dict[keras.Operation, keras.Operation | None]  # None for the layer that answers

    def between(self, first: keras.Operation, end: keras.Operation) -> set[keras.Operation]:
        """The layers on all ways from `first` to `end`, without `end`."""
        found: set[keras.Operation] = set()
        waiting = [first]
        while waiting:
            layer = waiting.pop()
            if layer is not end and layer not in found:
                found.add(layer)
                waiting += self.feeds[layer]
        return found


def graph(model: keras.Model) -> Graph:
    """That of a functional or sequential model with one input and one output."""
    feeds = _feeds(model)
    begin, end = (_maker(tensor) for tensor in (model.input, model.output))
    order = _order(begin, feeds)
    depth = {end: 0}
    meeting: dict[keras.Operation, keras.Operation | None] = {end: None}
    for layer in reversed(order):  # immediate post-dominators: K. Cooper et al., 2001, for a graph without cycles
        if layer is end:
            continue
        first, *others = feeds[layer]
        for other in others:
            first = _common(first, other, meeting, depth)
        meeting[layer], depth[layer] = first, depth[first] + 1
    return Graph(begin, feeds, meeting)


def _feeds(model: keras.Model) -> Layers:
    feeds: Layers = {_maker(model.output): []}
    waiting = [model.output]
    while waiting:
        made = waiting.pop()
        layer = _maker(made)
        for tensor in layer._inbound_nodes[made._keras_history.node_index].input_tensors:  # noqa: SLF001 - only there
            before = _maker(tensor)
            if before not in feeds:
                feeds[before] = []
                waiting.append(tensor)
            if layer not in feeds[before]:
                feeds[before].append(layer)
    places = {layer: place for place, layer in enumerate(model.operations)}
    return {layer: sorted(after, key=places.__getitem__) for layer, after in feeds.items()}


def _maker(tensor: keras.KerasTensor) -> keras.Operation:
    return tensor._keras_history.operation  # noqa: SLF001 - Keras keeps it nowhere else


def _order(begin: keras.Operation, feeds: Layers) -> list[keras.Operation]:
    """Every layer after all that it takes from."""
    missing = dict.fromkeys(feeds, 0)
    for after in feeds.values():
        for layer in after:
            missing[layer] += 1
    order = [begin]
    for layer in order:
        for after in feeds[layer]:
            missing[after] -= 1
            if not missing[after]:
                order.append(after)
    return order


def _common(
    one: keras.Operation,
    other: keras.Operation,
    meeting: dict[keras.Operation, keras.Operation | None],
    depth: dict[keras.Operation, int],
) -> keras.Operation:
    """The first layer on the ways of both to the end."""
    while one is not other:
        if depth[one] >= depth[other]:
            one = meeting[one]
        else:
            other = meeting[other]
    return one
