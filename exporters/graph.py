"""The converted ONNX graph, made smaller before it is proven: what can be computed now is not computed at each request.

ONNX Runtime's basic level folds constants and batch normalisations into the convolutions before them, and writes plain
ONNX again. What it leaves is done here: a normalisation that no convolution stands before becomes one operation,
flattened features meet a kernel whose rows were put into the order of their channels, instead of being transposed, and
the pictures, scaled by one number, meet kernels that were scaled by it, and are transposed once, as bytes.
"""

import math
import tempfile
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from artifacts.bundle import INPUT

OPSET = 17  # what Triton 2.51 and every ONNX Runtime since 1.13 run
IR_VERSION = 8  # that of opset 17
CHANNELS_LAST = [0, 2, 3, 1]
CHANNELS_FIRST = [0, 3, 1, 2]
VALUE_BY_VALUE = ("Cast", "Mul", "Add", "Sub", "Div", "Relu")
DENSE = ("Gemm", "MatMul")  # with a bias, without
WEIGHTED = ("Conv", *DENSE)
LAYOUTS = ("Transpose", "Reshape", "Flatten")


class Graph:
    """A model's graph by name: which node makes a tensor, which take it, which constants there are."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = model.graph.node
        self.outputs = {output.name for output in model.graph.output}
        self.constants = {each.name: each for each in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.takers = Counter(name for node in self.nodes for name in node.input)
        self.takers.update(self.outputs)

    def value(self, name: str) -> NDArray[Any] | None:
        """A constant; None when it is none."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def only_taker(self, name: str) -> onnx.NodeProto | None:
        """The one node that takes a tensor; None when there are more, or when it is an output."""
        if self.takers[name] != 1 or name in self.outputs:
            return None
        return next((node for node in self.nodes if name in node.input), None)

    def set(self, name: str, value: NDArray[Any]) -> str:
        """Keep a constant of this name; its name."""
        made = numpy_helper.from_array(np.ascontiguousarray(value), name)
        if name in self.constants:
            self.constants[name].CopyFrom(made)
        else:
            self.model.graph.initializer.append(made)
            self.constants[name] = self.model.graph.initializer[-1]
        return name


def optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function in fewer operations, in opset 17 of plain ONNX; checked by `onnx.checker`."""
    model = _folded(model)
    of_the_ends = (_flattened_plainly, _kernels_in_order_of_channels, _kernels_scaled, _pictures_transposed_once)
    for step in (*of_the_ends, _normalisations_joined):  # these know channels-first features only
        step(model)
        _without_the_unused(model)
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def shapes(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Dimensions of every tensor that shape inference knows; None for one that is free."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = (each for field in (inferred.input, inferred.value_info, inferred.output) for each in field)
    return {each.name: [dim.dim_value or None for dim in each.type.tensor_type.shape.dim] for each in known}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as scratch:
        options.optimized_model_filepath = str(Path(scratch, "folded.onnx"))
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _normalisations_joined(model: onnx.ModelProto) -> None:
    """X · scale + shift, a value a channel each, becomes BatchNormalization, which runs as one pass with its ReLU."""
    graph = Graph(model)
    known = shapes(model)
    for multiply in [node for node in graph.nodes if node.op_type == "Mul"]:
        x, scale = _operands(graph, multiply)
        add = graph.only_taker(multiply.output[0])
        channels = _channels(known.get(x))
        if scale is None or channels is None or add is None or add.op_type != "Add":
            continue
        _, shift = _operands(graph, add)
        if shift is None or not _one_a_channel(scale, channels) or not _one_a_channel(shift, channels):
            continue
        name = multiply.output[0]
        constants = {
            "scale": scale.reshape(channels),
            "shift": np.broadcast_to(shift.reshape(-1), channels),
            "mean": np.zeros(channels, np.float32),
            "variance": np.ones(channels, np.float32),
        }
        inputs = [graph.set(f"{name}/{each}", value) for each, value in constants.items()]
        joined = helper.make_node("BatchNormalization", [x, *inputs], [add.output[0]], name=name, epsilon=0.0)
        multiply.CopyFrom(joined)
        graph.nodes.remove(add)


def _flattened_plainly(model: onnx.ModelProto) -> None:
    """A Reshape to (batch, features), whose target is computed from the batch at each request, becomes Flatten."""
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type == "Reshape" and _is_batch_and_rest(graph, node.input[1]):
            node.CopyFrom(helper.make_node("Flatten", [node.input[0]], node.output, name=node.name, axis=1))


def _kernels_in_order_of_channels(model: onnx.ModelProto) -> None:
    """Transpose, Flatten, dense layer become Flatten and a dense layer with its rows in the other order."""
    graph = Graph(model)
    known = shapes(model)
    for flatten in [node for node in graph.nodes if node.op_type == "Flatten"]:
        transpose = graph.makers.get(flatten.input[0])
        dense = graph.only_taker(flatten.output[0])
        if transpose is None or not _is_transpose(transpose, CHANNELS_LAST) or graph.takers[transpose.output[0]] != 1:
            continue
        features = known.get(transpose.input[0], [])[1:]
        if dense is None or not _is_dense(dense) or None in features or not features:
            continue
        kernel = graph.value(dense.input[1])
        if kernel is None or graph.takers[dense.input[1]] != 1 or len(kernel) != math.prod(features):  # type: ignore[arg-type]
            continue
        channels, height, width = features
        rows = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        graph.set(dense.input[1], rows)
        flatten.input[0] = transpose.input[0]


def _kernels_scaled(model: onnx.ModelProto) -> None:
    """Cast, scale, transpose, layers become transpose, cast, layers with scaled kernels: bytes are moved, not floats.

    Only where the pictures are scaled by one number: a mean cannot pass a convolution that pads with zeros.
    """
    graph = Graph(model)
    cast = graph.only_taker(INPUT)
    if cast is None or cast.op_type != "Cast":
        return
    before, scale = [cast], np.float32(1)
    multiply = graph.only_taker(cast.output[0])
    if multiply is not None and multiply.op_type == "Mul":
        _, factor = _operands(graph, multiply)
        if factor is None or factor.size != 1:
            return
        before, scale = [cast, multiply], factor.reshape(())
    layout = graph.only_taker(before[-1].output[0])
    if layout is not None and layout.op_type in LAYOUTS:
        before.append(layout)
    scaled = before[-1].output[0]
    layers = [node for node in graph.nodes if scaled in node.input]
    if not layers or not all(_has_kernel_of_its_own(graph, node, scaled) for node in layers):
        return
    for node in layers:
        graph.set(node.input[1], (graph.value(node.input[1]) * scale).astype(np.float32))  # type: ignore[operator]
    moved = INPUT
    if before[-1].op_type in LAYOUTS:
        moved = f"{INPUT}/{before[-1].op_type}"
        before[-1].input[0], before[-1].output[0] = INPUT, moved
    cast.input[0], cast.output[0] = moved, scaled
    first = [*(node for node in before if node.op_type in LAYOUTS), cast]
    rest = [node for node in graph.nodes if not any(node is each for each in before)]
    _put(model, [*first, *rest])


def _put(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Let these be the model's nodes, some of which it has already."""
    copies = [deepcopy(node) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _pictures_transposed_once(model: onnx.ModelProto) -> None:
    """Transposes of what is computed from the pictures value by value become one of the pictures, which are bytes."""
    graph = Graph(model)
    inside, transposes = _value_by_value(graph, shapes(model)[INPUT][-1])
    if not transposes:
        return
    for node in inside:
        for place, name in enumerate(node.input):
            value = graph.value(name)
            if value is not None and value.size > 1:
                node.input[place] = graph.set(f"{name}/channels_first", value.reshape(-1, 1, 1))
    first = helper.make_node("Transpose", [INPUT], [f"{INPUT}/Transpose"], perm=CHANNELS_FIRST)
    renamed = {INPUT: first.output[0], **{each.output[0]: each.input[0] for each in transposes}}
    rest = [node for node in graph.nodes if not any(node is each for each in transposes)]
    for node in rest:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    _put(model, [first, *rest])


def _value_by_value(graph: Graph, channels: int | None) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """What is computed from the pictures value by value, and the transposes to channels first of it.

    Nothing where another node takes of it, for that one would have to be told of the new order.
    """
    reached: set[str] = {INPUT}
    inside, transposes = [], []
    for node in graph.nodes:
        if reached.isdisjoint(node.input):
            continue
        fit = all(name in reached or _fits(graph, name, channels) for name in node.input)
        if _is_transpose(node, CHANNELS_FIRST) and node.input[0] != INPUT:
            transposes.append(node)
        elif fit and node.op_type in VALUE_BY_VALUE:
            inside.append(node)
            reached.update(node.output)
        else:
            return [], []
    return (inside, transposes) if graph.outputs.isdisjoint(reached) else ([], [])


def _fits(graph: Graph, name: str, channels: int | None) -> bool:
    """Whether a constant is one number, or one for each channel of pictures (N, height, width, channels)."""
    value = graph.value(name)
    return value is not None and (value.size == 1 or value.shape[-1] == value.size == channels)


def _has_kernel_of_its_own(graph: Graph, node: onnx.NodeProto, features: str) -> bool:
    """Whether a layer's kernel is a constant that no other node takes, and it takes `features` as such."""
    if node.op_type not in WEIGHTED or node.input[0] != features:
        return False
    return graph.value(node.input[1]) is not None and graph.takers[node.input[1]] == 1


def _without_the_unused(model: onnx.ModelProto) -> None:
    """Drop nodes whose output nobody takes, and constants likewise."""
    while True:
        graph = Graph(model)
        unused = [node for node in graph.nodes if not any(graph.takers[name] for name in node.output)]
        if not unused:
            break
        for node in unused:
            graph.nodes.remove(node)
    used = [each for each in model.graph.initializer if graph.takers[each.name]]
    del model.graph.initializer[:]
    model.graph.initializer.extend(used)


def _operands(graph: Graph, node: onnx.NodeProto) -> tuple[str, NDArray[Any] | None]:
    """Of a node of two inputs: the name of the one that is computed, and the other, a constant; None if it is none."""
    first, second = node.input
    if graph.value(first) is not None:
        first, second = second, first
    return first, graph.value(second)


def _channels(shape: list[int | None] | None) -> int | None:
    """Of features (N, channels, height, width)."""
    return shape[1] if shape and len(shape) == 4 else None  # noqa: PLR2004 - as above


def _one_a_channel(value: NDArray[Any], channels: int) -> bool:
    return value.dtype == np.float32 and value.size == channels and value.shape[-2:] == (1, 1)


def _is_batch_and_rest(graph: Graph, name: str) -> bool:
    """Whether a target is [the batch, one number]: Keras's Flatten, as tf2onnx converts it."""
    node = graph.makers.get(name)
    while node is not None and node.op_type == "Cast":
        node = graph.makers.get(node.input[0])
    if node is None or node.op_type != "Concat" or len(node.input) != 2:  # noqa: PLR2004 - batch, rest
        return False
    rest = graph.value(node.input[1])
    return rest is not None and rest.size == 1 and graph.value(node.input[0]) is None


def _is_dense(node: onnx.NodeProto) -> bool:
    """Whether a node is a dense layer whose kernel is (features, units)."""
    known = attributes(node)
    return node.op_type in DENSE and not known.get("transA") and not known.get("transB")


def _is_transpose(node: onnx.NodeProto, order: list[int]) -> bool:
    return node.op_type == "Transpose" and attributes(node).get("perm") == order
