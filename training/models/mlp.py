"""Multilayer perceptrons.

F. Chollet, "Deep Learning with Python", chapter 2, and R. Atienza, "Advanced Deep Learning with Keras", chapter 1.
"""

from functools import partial

import keras
from keras import layers

from training.config import Shape


def mlp(shape: Shape, classes: int, l2: float = 0.0, *, hidden: tuple[int, ...]) -> keras.Model:
    """Flatten, then a dense ReLU layer for each width in `hidden`, then softmax.

    Args:
        shape: of the input, (height, width, channels).
        classes: width of the output.
        l2: factor of the squared kernels in the loss.
        hidden: widths of the hidden layers, from the input on.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).
    """
    picture = keras.Input(shape, dtype="uint8", name="image")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(picture))
    for width in hidden:
        x = layers.Dense(width, activation="relu", kernel_regularizer=keras.regularizers.L2(l2) if l2 else None)(x)
    return keras.Model(picture, layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x))


MODELS = {
    "mlp-32": partial(mlp, hidden=(32,)),
}
