"""Zeros before a max-pooling, written so that no optimiser can lose them.

The padding of ONNX's own MaxPool never wins (it is minus infinity); that of a layer of zeros before it does, wherever
all else in the window is negative. ONNX Runtime (1.17 on, `pad_fusion.cc` of pull request 18136) and the optimiser of
onnx (pull request 318) take the one for the other: a ResNet of the second kind, which pools before any ReLU, then gives
other labels. Here the pooling gets the padding, and afterwards the zeros their say: no optimiser knows that pattern.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from exporters.graph import Graph, attributes, shapes

AXES = 2  # height, width; the two before them are pictures and channels
PADS, VALUE = 1, 2  # inputs of Pad


def zeros_kept(model: onnx.ModelProto) -> None:
    """Rewrite each MaxPool that pools what a Pad has put zeros around, unless that is the output of a ReLU."""
    graph = Graph(model)
    known = shapes(model)
    for pool in [node for node in graph.nodes if node.op_type == "MaxPool"]:
        pad = graph.makers.get(pool.input[0])
        pads = _zeros(graph, pad)
        before = graph.makers.get(pad.input[0]) if pad is not None else None
        if pad is None or pads is None or not _is_plain(pool) or (before is not None and before.op_type == "Relu"):
            continue
        sides = known.get(pad.input[0], [])[-AXES:]
        if len(sides) == AXES and None not in sides:
            _rewrite(graph, pool, pad.input[0], pads, sides)


def _zeros(graph: Graph, pad: onnx.NodeProto | None) -> list[int] | None:
    """How many zeros a Pad puts around height and width, [top, left, bottom, right]; None if it does anything else."""
    if pad is None or pad.op_type != "Pad" or attributes(pad).get("mode", b"constant") != b"constant":
        return None
    given = attributes(pad)  # as opsets before 11 have them
    counts = given.get("pads") or _constant(graph, pad, PADS)
    value = _constant(graph, pad, VALUE)
    if counts is None or any(value or [given.get("value", 0)]) or len(counts) != 4 * AXES or min(counts) < 0:
        return None
    if (_named(pad, VALUE) and value is None) or _named(pad, VALUE + 1):  # not known before it runs; or along some axes
        return None
    others = counts[:AXES] + counts[2 * AXES : 3 * AXES]
    return None if any(others) else counts[AXES : 2 * AXES] + counts[3 * AXES :]


def _named(node: onnx.NodeProto, place: int) -> str:
    return node.input[place] if len(node.input) > place else ""


def _constant(graph: Graph, node: onnx.NodeProto, place: int) -> list[Any] | None:
    """The values of an input that is a constant; None if it is none."""
    name = _named(node, place)
    maker = graph.makers.get(name)
    if maker is not None and maker.op_type == "Constant":
        tensor = attributes(maker).get("value")
        found = numpy_helper.to_array(tensor) if tensor is not None else None
    else:
        found = graph.value(name)
    return None if found is None else found.ravel().tolist()


def _is_plain(pool: onnx.NodeProto) -> bool:
    given = attributes(pool)
    return (
        len(pool.output) == 1
        and not any(given.get("pads", ()))
        and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and not given.get("ceil_mode")
        and set(given.get("dilations", ())) <= {1}
    )


def _rewrite(graph: Graph, pool: onnx.NodeProto, x: str, pads: list[int], sides: list[Any]) -> None:
    given = attributes(pool)
    kernel, strides = given["kernel_shape"], given.get("strides", [1] * AXES)
    rows, columns = (_touched(sides[a], kernel[a], strides[a], pads[a], pads[a + AXES]) for a in range(AXES))
    edge = np.where(rows[:, None] | columns[None, :], np.float32(0), np.float32(-np.inf))
    output, pooled = pool.output[0], f"{pool.output[0]}/pooled"
    edges = graph.set(f"{output}/edges", edge[None, None])
    kept = helper.make_node("Max", [pooled, edges], [output], name=f"{pool.name}/edges")
    made = helper.make_node("MaxPool", [x], [pooled], pool.name, kernel_shape=kernel, strides=strides, pads=pads)
    place = next(index for index, node in enumerate(graph.nodes) if node is pool or node.output[:] == pool.output[:])
    pool.CopyFrom(made)
    graph.nodes.insert(place + 1, kept)


def _touched(side: int, kernel: int, stride: int, before: int, after: int) -> NDArray[np.bool_]:
    """Which windows along an axis reach into the padding."""
    starts = np.arange((side + before + after - kernel) // stride + 1) * stride - before
    touched: NDArray[np.bool_] = (starts < 0) | (starts + kernel > side)
    return touched
