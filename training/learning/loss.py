"""What training makes small."""

from collections.abc import Callable

import keras
import numpy as np
from keras import KerasTensor, ops

from training.learning.feed import Examples


def cross_entropy(smoothing: float) -> Callable[[KerasTensor, KerasTensor], KerasTensor]:
    """Of class numbers (N,) and probabilities (N, classes): losses (N,).

    `smoothing` is the share of certainty that is spread over all classes (C. Szegedy et al., 2015).
    """
    if not smoothing:
        return keras.losses.sparse_categorical_crossentropy

    def smoothed(true: KerasTensor, predicted: KerasTensor) -> KerasTensor:
        one_hot = ops.one_hot(ops.cast(ops.reshape(true, (-1,)), "int32"), predicted.shape[-1])
        return keras.losses.categorical_crossentropy(one_hot, predicted, label_smoothing=smoothing)

    return smoothed


def class_weights(name: str, examples: Examples) -> dict[int, float] | None:
    """Class -> weight; `balanced`: every class counts the same, and the mean weight of a picture is 1."""
    if name == "none":
        return None
    classes, counts = np.unique(examples.true, return_counts=True)
    each = len(examples) / len(classes)
    return {int(number): each / int(count) for number, count in zip(classes, counts, strict=True)}
