"""Keras -> ONNX: one file, checked, with the names and types that every bundle has."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from artifacts.bundle import INPUT, OUTPUT
from exporters import activation_map
from exporters.activation_map import Map
from exporters.frameworks import tf2onnx
from exporters.graph import OPSET, optimised
from exporters.padding import zeros_kept


def write_onnx(predict: Any, path: Path) -> Map | None:
    """Convert `predict` (see `to_saved_model.prediction_function`), optimise it and write it to `path`.

    The activation map that it has as a second output, if its network allows one.
    """
    model, _ = tf2onnx.convert.from_function(predict, input_signature=predict.input_signature, opset=OPSET)
    _keep_constants(model, predict)
    _name_output(model)
    zeros_kept(model)
    model = optimised(model)
    found = activation_map.add(model)
    onnx.save(model, path)
    return found


def open_onnx(path: Path) -> Any:
    """A function from uint8 (N, H, W, C) to float32 (N, classes) that runs the file in ONNX Runtime on the CPU."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return session.run([OUTPUT], {INPUT: pixels})[0]

    return predict


def _keep_constants(model: onnx.ModelProto, predict: Any) -> None:
    """tf2onnx takes tensors that the function holds, such as the mean of a Normalization, for inputs: put them in."""
    concrete = predict.get_concrete_function()
    held = {inside.name: outside for outside, inside in concrete.graph.captures}
    used = {name for node in model.graph.node for name in node.input}
    for extra in [each for each in model.graph.input if each.name in held]:
        model.graph.input.remove(extra)
        if extra.name in used:
            model.graph.initializer.append(onnx.numpy_helper.from_array(held[extra.name].numpy(), extra.name))


def _name_output(model: onnx.ModelProto) -> None:
    """tf2onnx names an output after the last TensorFlow operation; give it the bundle's name."""
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = [OUTPUT if name == output.name else name for name in node.output]
        node.input[:] = [OUTPUT if name == output.name else name for name in node.input]
    output.name = OUTPUT
