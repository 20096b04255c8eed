"""Layers in the words of the field, and how many parameters each one has."""

from typing import Any

import keras
import numpy as np

from training.report.graph import graph

# Layers that are told in a word beside the one that they follow.
SMALL = (
    keras.layers.Rescaling, keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.ReLU,
    keras.layers.LeakyReLU, keras.layers.Softmax, keras.layers.Dropout, keras.layers.ZeroPadding2D,
    keras.layers.Flatten,
)  # fmt: skip
WORDS = {
    "InputLayer": "Picture", "Add": "Add", "Concatenate": "Concatenate", "GlobalAveragePooling2D": "Mean of each map",
    "BatchNormalization": "batch norm", "ReLU": "ReLU", "LeakyReLU": "leaky ReLU", "Softmax": "softmax",
    "Rescaling": "rescaling", "Flatten": "flatten", "ZeroPadding2D": "padding", "relu": "ReLU",
}  # fmt: skip


def describe(layer: keras.Operation) -> str:
    """`Convolution 3×3, 64, stride 2`."""
    kind = type(layer).__name__
    words = {
        "Conv2D": _convolution,
        "Dense": lambda layer: f"Dense {layer.units}",
        "Dropout": lambda layer: f"dropout {layer.rate:g}",
        "MaxPooling2D": lambda layer: f"Max pooling {_size(layer.pool_size)}",
        "AveragePooling2D": lambda layer: f"Average pooling {_size(layer.pool_size)}",
        "Activation": activation,
    }
    return words[kind](layer) if kind in words else WORDS.get(kind, kind)


def activation(layer: keras.Operation) -> str:
    """`ReLU`, or nothing where the layer has none of its own."""
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return "" if name == "linear" else WORDS.get(name, name)


def shape(layer: keras.Operation) -> str:
    """Of what leaves it, without the batch: `28 × 28 × 1`."""
    output = layer.output
    return " × ".join(str(size) for size in output.shape[1:])


def parameters(model: keras.Model) -> list[dict[str, Any]]:
    """[{"name", "what", "shape", "parameters", "trainable", "share"}, …] of every layer; `share` of all parameters."""
    everything = max(1, model.count_params())
    return [
        {
            "name": layer.name,
            "what": " · ".join(filter(None, dict.fromkeys((describe(layer), activation(layer))))),
            "shape": shape(layer),
            "parameters": layer.count_params(),
            "trainable": count(layer.trainable_weights),
            "share": layer.count_params() / everything,
        }
        for layer in model.layers
    ]


def spoken(model: keras.Model, names: list[str]) -> list[str]:
    """Layers by name; one without weights by that of the layer too whose output it takes: `re_lu (after conv2d)`."""
    before = {after: layer for layer, fed in graph(model).feeds.items() for after in fed}
    told = []
    for name in names:
        layer = source = model.get_layer(name)
        while isinstance(source, SMALL) and source in before:
            source = before[source]
        told.append(name if source is layer else f"{name} (after {source.name})")
    return told


def count(weights: list[keras.Variable]) -> int:
    """Numbers in all of them."""
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _convolution(layer: keras.layers.Conv2D) -> str:
    told = [f"Convolution {_size(layer.kernel_size)}, {layer.filters}"]
    told += [f"stride {max(layer.strides)}"] if max(layer.strides) > 1 else []
    told += [f"dilated by {max(layer.dilation_rate)}"] if max(layer.dilation_rate) > 1 else []
    return ", ".join(told)


def _size(sides: tuple[int, int]) -> str:
    return "×".join(map(str, sides))
