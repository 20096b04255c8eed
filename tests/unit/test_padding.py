"""Zeros before a max-pooling count, whatever optimises the graph afterwards."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.padding import zeros_kept

SIDES = 7, 9
OPSET = 17
LEVELS = onnxruntime.GraphOptimizationLevel


def network(pads, kernel, strides, *, relu=False, value=0.0, constants=False):
    """Pad, MaxPool; the constants as initializers or as nodes."""
    numbers = {"pads": np.array(pads, np.int64), "value": np.array(value, np.float32)}
    made = [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    nodes = [helper.make_node("Constant", [], [each.name], value=each) for each in made] if constants else []
    if relu:
        nodes.append(helper.make_node("Relu", ["x"], ["relu"]))
    nodes += [
        helper.make_node("Pad", ["relu" if relu else "x", "pads", "value"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], "pool", kernel_shape=kernel, strides=strides),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, *SIDES])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", None, None, None])
    graph = helper.make_graph(nodes, "padded", [x], [y], [] if constants else made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": negative()})[0]


def negative():
    return -np.random.default_rng(0).uniform(1, 2, (3, 2, *SIDES)).astype(np.float32)


def operations(model):
    return [node.op_type for node in model.graph.node if node.op_type != "Constant"]


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize(
    ("pads", "kernel", "strides"),
    [
        ([0, 0, 1, 1, 0, 0, 1, 1], [3, 3], [2, 2]),
        ([0, 0, 1, 0, 0, 0, 0, 2], [3, 3], [1, 1]),
        ([0, 0, 1, 1, 0, 0, 1, 1], [2, 3], [2, 3]),
    ],
)
def test_zeros_win_over_what_is_negative_at_every_level_of_optimisation(pads, kernel, strides, constants):
    model = network(pads, kernel, strides, constants=constants)
    expected = run(model, LEVELS.ORT_DISABLE_ALL)
    zeros_kept(model)
    onnx.checker.check_model(model, full_check=True)
    assert "Pad" not in operations(_used(model))
    assert (expected == 0).any()
    for level in (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_BASIC, LEVELS.ORT_ENABLE_ALL):
        np.testing.assert_array_equal(run(model, level), expected)


def test_onnx_runtime_itself_still_loses_them():
    model = network([0, 0, 1, 1, 0, 0, 1, 1], [3, 3], [2, 2])
    lost = run(model, LEVELS.ORT_ENABLE_BASIC)
    assert (lost < 0).all(), "mended in this version: exporters/padding.py is needed no more"


@pytest.mark.parametrize(
    "options",
    [{"relu": True}, {"value": 1.0}, {"pads": [0, 1, 1, 1, 0, 0, 1, 1]}, {"pads": [0, 0, -1, 0, 0, 0, 0, 0]}],
    ids=str,
)
def test_all_else_is_left_as_it_is(options):
    model = network(**{"pads": [0, 0, 1, 1, 0, 0, 1, 1], "kernel": [3, 3], "strides": [2, 2], **options})
    before = model.SerializeToString()
    zeros_kept(model)
    assert model.SerializeToString() == before


def _used(model):
    """Without the nodes whose output nobody takes any more."""
    taken = {name for node in model.graph.node for name in node.input} | {"y"}
    for node in [node for node in model.graph.node if taken.isdisjoint(node.output)]:
        model.graph.node.remove(node)
    return model
