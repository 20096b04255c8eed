"""The class activation map: where a network looked, as a second output of its ONNX graph.

Where a network ends in average pooling and a dense layer, the layer can be applied before the pooling as well: its mean
over the places, plus the bias, is the logit (B. Zhou et al., "Learning Deep Features for Discriminative Localization",
2016). ONNX Runtime computes it whether it is asked for or not; measured on one core, that is about 1 % of the time of
ResNet20 and ResNet50 (a graph in which it costs nothing would need a second input with which to ask).
"""

from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from artifacts.bundle import ACTIVATION_MAP, OUTPUT
from exporters.graph import DENSE, Graph, attributes, shapes

RESHAPING = ("Squeeze", "Flatten", "Reshape")
NODE = "activation_map"


class Map(NamedTuple):
    """How many places a map has."""

    height: int
    width: int


def add(model: onnx.ModelProto) -> Map | None:
    """Add the output `activation_map`, float32 (N, classes, height, width), to an optimised model.

    None, and nothing is added, where the network does not end in average pooling and at most one dense layer.
    """
    graph = Graph(model)
    found = _end(graph)
    if found is None:
        return None
    features, weights = found
    dimensions = shapes(model).get(features, [])
    if len(dimensions) != 4 or None in dimensions[1:]:  # noqa: PLR2004 - N, channels, height, width
        return None
    channels, height, width = dimensions[1:]
    weights = np.eye(channels, dtype=np.float32) if weights is None else weights  # type: ignore[arg-type]
    if weights.shape[1] != channels or height * width == 1:  # type: ignore[operator]
        return None
    kernel = graph.set(f"{NODE}/kernel", weights[:, :, None, None])
    model.graph.node.append(helper.make_node("Conv", [features, kernel], [ACTIVATION_MAP], name=NODE))
    shape = ["N", len(weights), height, width]
    model.graph.output.append(helper.make_tensor_value_info(ACTIVATION_MAP, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    return Map(height, width)  # type: ignore[arg-type]


def _end(graph: Graph) -> tuple[str, NDArray[Any] | None] | None:
    """What is pooled, and the weights (classes, channels) of the dense layer behind it, None where there is none."""
    node = graph.makers[OUTPUT]
    if node.op_type != "Softmax":
        return None
    weights = None
    node = graph.makers.get(node.input[0])
    if node is not None and node.op_type in DENSE:
        weights = graph.value(node.input[1])
        if weights is None:
            return None
        weights = weights if attributes(node).get("transB") else weights.T
        node = graph.makers.get(node.input[0])
    while node is not None and node.op_type in RESHAPING:
        node = graph.makers.get(node.input[0])
    return (node.input[0], weights) if node is not None and node.op_type == "GlobalAveragePool" else None
