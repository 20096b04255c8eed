"""What networks begin and end with."""

import keras
from keras import KerasTensor, layers

from artifacts.errors import WrongUse
from training.readers import Shape


def picture(shape: Shape) -> KerasTensor:
    """The input `image`, uint8 (N, *shape)."""
    return keras.Input(shape, dtype="uint8", name="image")


def activate(x: KerasTensor) -> KerasTensor:
    """Batch normalisation, then ReLU."""
    return layers.ReLU()(layers.BatchNormalization()(x))


def drop(x: KerasTensor, share: float) -> KerasTensor:
    """`x`, of which `share` is dropped in training; no layer is added where nothing is dropped."""
    return layers.Dropout(share)(x) if share else x


def softmax(x: KerasTensor, classes: int, initializer: str = "glorot_uniform") -> KerasTensor:
    """Features (N, F) -> `probabilities`, float32 (N, classes), whatever precision the network computes in."""
    dense = layers.Dense(
        classes, activation="softmax", kernel_initializer=initializer, dtype="float32", name="probabilities"
    )
    return dense(x)


def sigmoid(x: KerasTensor, classes: int) -> KerasTensor:
    """Features (N, F) -> one sigmoid unit p -> `probabilities` [1 - p, p], float32 (N, 2); the unit is class 1's.

    Raises:
        WrongUse: there are not two classes.
    """
    if classes != 2:  # noqa: PLR2004 - what one unit tells apart
        raise WrongUse(f"this model ends in one sigmoid unit, which tells 2 classes apart; received {classes} classes")
    second = layers.Dense(1, activation="sigmoid", dtype="float32")(x)
    first = layers.Rescaling(-1.0, 1.0, dtype="float32")(second)  # a layer: the older HDF5 format knows no operations
    return layers.Concatenate(dtype="float32", name="probabilities")([first, second])
