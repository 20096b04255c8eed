"""fp32 -> fp16, for GPUs: pictures still go in as uint8, and probabilities still come out as float32."""

import warnings
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from artifacts.bundle import OUTPUT
from exporters import probabilities
from exporters.graph import Graph

KEPT = "in full precision/"  # before the names of constants: the rest of the model may have the same, in half


class End(NamedTuple):
    """What makes the probabilities."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


def write_half(source: Path, path: Path) -> None:
    """Convert the ONNX file at `source` and write it to `path`.

    What makes the probabilities, from the last activation on, keeps full precision: half would leave them three digits.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    outputs = [deepcopy(each) for each in model.graph.output]
    end = _cut_off_end(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "the float32 number … will be truncated": the gate measures it
        model = convert_float_to_float16(model, keep_io_types=True)
    OnnxModel(model).topological_sort()  # the casts were appended
    model.graph.node.extend(end.nodes)
    model.graph.initializer.extend(end.constants)
    del model.graph.output[:], model.graph.value_info[:]
    model.graph.output.extend(outputs)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _cut_off_end(model: onnx.ModelProto) -> End:
    """Take the end out of a model; the tensors that it took become outputs."""
    graph = Graph(model)
    made = probabilities.made(graph)
    nodes = [node for node in graph.nodes if made.issuperset(node.output)]
    taken = {name for node in nodes for name in node.input} - made
    end = End(deepcopy(nodes), [deepcopy(each) for name, each in graph.constants.items() if name in taken])
    for constant in end.constants:
        constant.name = KEPT + constant.name
    for node in end.nodes:
        node.input[:] = [KEPT + name if name in graph.constants else name for name in node.input]
    for node in nodes:
        graph.nodes.remove(node)
    others = [each for each in model.graph.output if each.name != OUTPUT]
    between = [each for each in model.graph.value_info if each.name in taken]
    given = deepcopy([*others, *between])
    del model.graph.output[:]
    model.graph.output.extend(given)
    return end
