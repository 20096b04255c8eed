"""What every layer of a small network makes of one picture."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.report import inline
from training.report.description import describe

MOST_LAYERS = 30  # of a network that is shown
MOST_MAPS = 16  # of a layer
SIDE = 48  # pixels of a map, at most
MOST_VALUES = 128  # of a layer without maps
SAME = (keras.layers.InputLayer, keras.layers.Rescaling, keras.layers.Dropout, keras.layers.Flatten)  # nothing to see


def maps(model: keras.Model, picture: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Look into every layer; of a network of more than MOST_LAYERS, nothing is shown.

    Args:
        model: uint8 (N, H, W, C) -> probabilities; of one input.
        picture: uint8 (H, W, C).

    Returns:
        [{"name", "what", "shape", "maps": addresses, "vector": an address or "", "left_out": how many}, …]. The colours
        of a layer's maps have one scale.
    """
    shown = [layer for layer in model.layers if not isinstance(layer, SAME)]
    if len(model.layers) > MOST_LAYERS:
        return []
    probe = keras.Model(model.input, [layer.output for layer in shown])
    outputs = probe(picture[None], training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    arrays = [keras.ops.convert_to_numpy(keras.ops.cast(each, "float32"))[0] for each in outputs]
    return [_row(layer, array) for layer, array in zip(shown, arrays, strict=True)]


def _row(layer: keras.Layer, array: NDArray[np.float32]) -> dict[str, Any]:
    """Of a layer's output: maps (H, W, C), or values (C,)."""
    finite = np.abs(array[np.isfinite(array)])
    highest = float(finite.max()) if finite.size else 1.0
    colors = inline.HEAT if array.min() >= 0 else inline.AROUND_ZERO
    row = {"name": layer.name, "what": describe(layer), "shape": " × ".join(map(str, array.shape))}
    if array.ndim < 3:  # noqa: PLR2004 - height, width, channels
        flat = array.ravel()[:MOST_VALUES]
        return {
            **row,
            "maps": [],
            "vector": inline.heat(flat[None], highest, colors),
            "left_out": array.size - flat.size,
        }
    kept = [_smaller(array[..., channel]) for channel in range(min(MOST_MAPS, array.shape[-1]))]
    drawn = [inline.heat(each, highest, colors) for each in kept]
    return {**row, "maps": drawn, "vector": "", "left_out": array.shape[-1] - len(drawn)}


def _smaller(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most SIDE × SIDE: the means of blocks."""
    block = -(-max(values.shape) // SIDE)
    if block == 1:
        return values
    height, width = (size // block * block for size in values.shape)
    return values[:height, :width].reshape(height // block, block, width // block, block).mean(axis=(1, 3))
