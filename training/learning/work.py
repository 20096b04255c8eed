"""How much a network computes, and how many batches are worth one return to Python."""

import keras
import numpy as np

PER_RETURN = 4e9  # multiplications and additions: a tenth of a second on two cores
MOST_BATCHES = 16


def work(model: keras.Model) -> int:
    """Multiplications and additions for one picture, of convolutions and dense layers: kernel size × positions."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            total += int(np.prod(kernel.shape)) * int(np.prod(layer.output.shape[1:-1]))
    return total


def steps_per_execution(model: keras.Model, batch_size: int) -> int:
    """Batches between two returns to Python.

    A return costs TensorFlow about half a millisecond, as long as a whole step of a small network. Torch refuses more
    than one; on JAX the compiled step would grow with the number.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    training = 3 * work(model) * batch_size  # forward, and backward twice: to the weights and to the input
    return int(np.clip(PER_RETURN / max(1, training), 1, MOST_BATCHES))
