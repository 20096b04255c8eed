"""Kernels rounded to int8 so that a layer's outputs change least, not so that each weight does.

Each weight in turn is rounded, and those after it take up what that changed in the outputs, as far as the pictures'
features allow (E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
2022, section 3; the features are those of training pictures).
"""

from copy import deepcopy

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from artifacts.bundle import INPUT
from exporters.graph import Graph, attributes

PLACES = 2048  # of each layer's features, at which its inputs are looked at
MOST_INPUTS = 600  # to one output: the work grows with the cube, and a sum of so many rounds well by itself
DAMPING = 0.01  # of the mean square of the features, so that unused ones do not take up everything
LARGEST = 127
BATCH_VALUES = 50_000  # of pictures that are looked at at once: all features of theirs are in memory

Float = NDArray[np.floating]


def moments(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> dict[str, Float]:
    """Of each convolution, by name, the second moments (inputs, inputs) of what its kernel meets.

    Args:
        model: in fp32.
        pixels: uint8 (N, height, width, channels), training pictures; of each, some places are looked at.
    """
    graph = Graph(model)
    layers = [node for node in graph.nodes if _can_be_rounded(graph, node)]
    told = deepcopy(model)
    names = sorted({layer.input[0] for layer in layers})
    told.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(told.SerializeToString(), providers=["CPUExecutionProvider"])
    random, each = np.random.default_rng(0), max(1, PLACES // len(pixels))
    batch = max(1, BATCH_VALUES // pixels[0].size)
    found: dict[str, Float] = {}
    for start in range(0, len(pixels), batch):
        features = dict(zip(names, session.run(names, {INPUT: pixels[start : start + batch]}), strict=True))
        for layer in layers:
            size = graph.value(layer.input[1]).shape[2:]  # type: ignore[union-attr]
            met = _met(layer, size, features[layer.input[0]], each, random)
            found[layer.name] = found.get(layer.name, 0) + met.T @ met / PLACES
    return found


def round_kernels(
    quantized: onnx.ModelProto, plain: onnx.ModelProto, met: dict[str, Float], known: dict[str, NDArray[np.int8]]
) -> None:
    """Round the kernels of the convolutions of `quantized` anew.

    Args:
        quantized: with int8 kernels; its nodes have the names of those of `plain`.
        plain: in fp32, what it was quantized from.
        met: of `plain`, from `moments`.
        known: kernels that were rounded for another model quantized from `plain`; new ones are added.
    """
    graph, before = Graph(quantized), Graph(plain)
    kernels = {node.name: node.input[1] for node in before.nodes if node.name in met}
    for node in graph.nodes:
        dequantize = graph.makers.get(node.input[1]) if node.name in kernels else None
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        kernel, scale = before.value(kernels[node.name]), graph.value(dequantize.input[1])
        if kernel is None or scale is None:
            continue
        if node.name not in known:
            flat = _rounded(kernel.reshape(len(kernel), -1), scale.reshape(-1), met[node.name])
            known[node.name] = flat.reshape(kernel.shape)
        graph.set(dequantize.input[0], known[node.name])


def _rounded(kernel: NDArray[np.float32], scale: NDArray[np.float32], met: Float) -> NDArray[np.int8]:
    """`kernel` (outputs, inputs) in steps of `scale` (outputs,), for inputs of the second moments `met`."""
    damped = met + np.eye(len(met)) * (DAMPING * np.trace(met) / len(met) + np.finfo(np.float32).tiny)
    carried = np.linalg.cholesky(np.linalg.inv(damped)).T
    weights, steps = kernel.astype(np.float64), scale.astype(np.float64)
    rounded = np.zeros_like(weights)
    for place in range(weights.shape[1]):
        rounded[:, place] = np.clip(np.round(weights[:, place] / steps), -LARGEST, LARGEST)
        error = (weights[:, place] - rounded[:, place] * steps) / carried[place, place]
        weights[:, place + 1 :] -= error[:, None] * carried[place, place + 1 :]
    return rounded.astype(np.int8)


def _met(
    layer: onnx.NodeProto, size: tuple[int, ...], features: NDArray[np.float32], each: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """What a kernel of `size` meets at `each` places of every picture, (places, channels · height · width)."""
    known = attributes(layer)
    top, left, bottom, right = known.get("pads", [0, 0, 0, 0])
    down, across = known.get("strides", [1, 1])
    padded = np.pad(features, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))[:, :, ::down, ::across]
    pictures = np.repeat(np.arange(len(features)), each)
    rows, columns = (random.integers(0, windows.shape[axis], len(pictures)) for axis in (2, 3))
    return windows[pictures, :, rows, columns].reshape(len(pictures), -1)


def _can_be_rounded(graph: Graph, node: onnx.NodeProto) -> bool:
    """A convolution of one group, without dilation, with pads that are written down, and a kernel that is not huge."""
    kernel = graph.value(node.input[1]) if node.op_type == "Conv" else None
    if kernel is None or kernel[0].size > MOST_INPUTS:
        return False
    known = attributes(node)
    dilated = any(each != 1 for each in known.get("dilations", []))
    return known.get("group", 1) == 1 and not dilated and known.get("auto_pad", b"NOTSET") == b"NOTSET"
