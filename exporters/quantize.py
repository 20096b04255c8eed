"""fp32 -> int8: static quantization, weights per channel, as pairs of QuantizeLinear and DequantizeLinear.

What the activations range over is measured on training pictures, and kernels are rounded by them. The layers next to
the pictures and next to the probabilities are few and matter most, so they are the first to be left in float when the
gate asks for more.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import PercentileCalibrater, TensorData

from artifacts.bundle import INPUT, OUTPUT
from exporters import probabilities
from exporters.activation_map import NODE as ACTIVATION_MAP_NODE
from exporters.graph import WEIGHTED, Graph
from exporters.rounding import moments, round_kernels

BETWEEN = ("Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat")
AFTER_A_LAYER = ("Relu", "MaxPool")  # in float with the layer before them: what was pooled is less to convert
# Of the layers, from the pictures on, that are left in float when nothing less does.
SHARES = (0.15, 0.3, 0.5)
BATCH = 16
PERCENTILE = 99.999  # of the values of a tensor; the few beyond it would make every step wider
MOST_VALUES = 5_000_000  # of pictures in all, so that large pictures do not take minutes
LEAST_PICTURES = 32
LEAST_OPSET, LEAST_IR_VERSION = 13, 7  # the latter is that of the former


class Attempt(NamedTuple):
    """A quantized model, and the names of the layers with weights that were left in float."""

    model: onnx.ModelProto
    in_float: list[str]


class Quantization:
    """A model with the ranges of its activations, to be quantized in more than one way."""

    def __init__(self, source: Path, pixels: NDArray[np.uint8]) -> None:
        """Measure the ranges.

        Args:
            source: an optimised fp32 model.
            pixels: uint8 (N, height, width, channels), training pictures.
        """
        self._model = _named(_renewed(onnx.load(source)))
        pixels = pixels[: max(LEAST_PICTURES, MOST_VALUES // pixels[0].size)]
        self._ranges = _ranges(self._model, pixels)
        self._met = moments(self._model, pixels)
        self._kernels: dict[str, NDArray[np.int8]] = {}
        for node in self._model.graph.node:
            if node.op_type == "Cast" and node.output[0] in self._ranges.keys():  # noqa: SIM118 - no mapping
                self._ranges[node.output[0]] = TensorData(lowest=np.float32(0), highest=np.float32(255))
        weighted = [node for node in self._model.graph.node if node.op_type in WEIGHTED]
        self._layers = [node.name for node in weighted if node.name != ACTIVATION_MAP_NODE]
        made = probabilities.made(Graph(self._model))
        self._end = [node.name for node in self._model.graph.node if made.issuperset(node.output)]

    def all_in_int8(self) -> Attempt:
        """Every layer in int8."""
        return self._quantized([])

    def ends_in_float(self) -> Attempt:
        """The layers next to the pictures and next to the probabilities in float."""
        return self._quantized(self._ends())

    def more_in_float(self) -> Iterator[Attempt]:
        """As `ends_in_float`, and ever more of the layers next to the pictures."""
        nodes = [node.name for node in self._model.graph.node]
        for share in SHARES:
            first_in_int8 = self._layers[round(share * len(self._layers))]
            yield self._quantized([*nodes[: nodes.index(first_in_int8)], *self._ends()])

    def is_quantized(self, attempt: Attempt) -> bool:
        """Whether any layer is in int8: a network of two layers has nothing but ends."""
        return len(attempt.in_float) < len(self._layers)

    def _ends(self) -> list[str]:
        graph = Graph(self._model)
        last = _reached(graph, [OUTPUT], forwards=False)
        first = _reached(graph, [INPUT], forwards=True)
        return [*_with_what_follows(graph, first), *(node.name for node in last)]

    def _quantized(self, in_float: list[str]) -> Attempt:
        model = deepcopy(self._model)
        _pool_before_relu(model, in_float)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=[*in_float, *self._end, ACTIVATION_MAP_NODE],
            op_types_to_quantize=[*WEIGHTED, *BETWEEN],
            extra_options={},
        )
        with _silence():
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        model = quantizer.model.model
        _take_pictures_as_they_are(model)
        round_kernels(model, self._model, self._met, self._kernels)
        onnx.checker.check_model(model, full_check=True)
        return Attempt(model, [name for name in self._layers if name in in_float])


def _pool_before_relu(model: onnx.ModelProto, in_float: list[str]) -> None:
    """Let ReLU and max pooling, which may come in either order, change places where a float layer ends in them.

    ONNX Runtime moves the quantization that follows to before the pooling, and pools bytes 20 times more slowly than
    floats; it does not move it past ReLU.
    """
    graph = Graph(model)
    for relu in [node for node in graph.nodes if node.op_type == "Relu" and node.name in in_float]:
        pool = graph.only_taker(relu.output[0])
        if pool is None or pool.op_type != "MaxPool" or len(pool.output) != 1:
            continue
        pooled, activated = relu.output[0], pool.output[0]
        pool.input[0], relu.input[0] = relu.input[0], pooled
        pool.output[0], relu.output[0] = pooled, activated
        places = [index for index, node in enumerate(graph.nodes) if node is relu or node is pool]
        first, second = (deepcopy(node) for node in (pool, relu))
        graph.nodes[places[0]].CopyFrom(first)
        graph.nodes[places[1]].CopyFrom(second)
    del model.graph.value_info[:]  # that of the pooled tensor has changed
    model.CopyFrom(onnx.shape_inference.infer_shapes(model))


def _take_pictures_as_they_are(model: onnx.ModelProto) -> None:
    """Pictures are bytes: where they are cast to float only to be quantized by steps of 1, they need not be."""
    graph = Graph(model)
    for cast in [node for node in graph.nodes if node.op_type == "Cast"]:
        quantize = graph.only_taker(cast.output[0])
        if quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        step, zero = (graph.value(name) for name in quantize.input[1:])
        if step == 1 and zero == 0:
            for node in graph.nodes:
                node.input[:] = [cast.input[0] if name == quantize.output[0] else name for name in node.input]
            graph.nodes.remove(quantize)
            graph.nodes.remove(cast)


class _OneBatch(CalibrationDataReader):
    """The calibrator keeps every tensor of all batches of a reader in memory, so each batch has a reader of its own."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._batches = iter([{INPUT: pixels}])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:  # type: ignore[override] # the base says dict, takes None
        return next(self._batches, None)


def _ranges(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> Any:
    """Between which values PERCENTILE of every tensor lie."""
    with tempfile.TemporaryDirectory() as scratch:
        plain, augmented = (Path(scratch, name) for name in ("plain.onnx", "augmented.onnx"))
        onnx.save(model, plain)
        calibrator = PercentileCalibrater(plain, [*WEIGHTED, *BETWEEN], augmented, percentile=PERCENTILE)
        calibrator.augment_graph()
        calibrator.create_inference_session()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints each step
            for start in range(0, len(pixels), BATCH):
                calibrator.collect_data(_OneBatch(pixels[start : start + BATCH]))
            return calibrator.compute_data()


def _renewed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model of somebody else in an opset that knows a step for each channel, if its own does not."""
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset >= LEAST_OPSET:
        return model
    constants = {each.name for each in model.graph.initializer}
    for extra in [each for each in model.graph.input if each.name in constants]:  # as old files have it
        model.graph.input.remove(extra)
    model.ir_version = max(model.ir_version, LEAST_IR_VERSION)
    return version_converter.convert_version(model, LEAST_OPSET)


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every node with a name of its own: the quantizer knows nodes by name."""
    for number, node in enumerate(model.graph.node):
        if node.name != ACTIVATION_MAP_NODE:
            node.name = f"{number}:{node.op_type}:{node.output[0]}"
    return model


def _reached(graph: Graph, tensors: list[str], *, forwards: bool) -> list[onnx.NodeProto]:
    """The layers with weights that are met first from these tensors on."""
    found: dict[str, onnx.NodeProto] = {}
    waiting, seen = list(tensors), set(tensors)
    while waiting:
        tensor = waiting.pop()
        maker = graph.makers.get(tensor)
        nodes = [node for node in graph.nodes if tensor in node.input] if forwards else [maker] if maker else []
        for node in nodes:
            if node.op_type in WEIGHTED:
                found[node.name] = node
                continue
            further = node.output if forwards else node.input
            waiting += [name for name in further if name not in seen]
            seen.update(further)
    return [node for node in found.values() if node.name != ACTIVATION_MAP_NODE]


def _with_what_follows(graph: Graph, layers: list[onnx.NodeProto]) -> list[str]:
    names = []
    for layer in layers:
        node: onnx.NodeProto | None = layer
        while node is not None:
            names.append(node.name)
            following = graph.only_taker(node.output[0])
            node = following if following is not None and following.op_type in AFTER_A_LAYER else None
    return names


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The quantizer advises on the root logger to prepare the model, which has been done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
