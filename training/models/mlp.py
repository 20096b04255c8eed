"""Multilayer perceptrons.

F. Chollet, "Deep Learning with Python", chapter 2, and R. Atienza, "Advanced Deep Learning with Keras", chapter 1.
"""

from functools import partial

import keras
from keras import layers

from training.models import parts
from training.models.regularization import Regularization
from training.readers import Shape


def mlp(
    shape: Shape,
    classes: int,
    regularization: Regularization,
    *,
    hidden: tuple[int, ...],
    dropout: tuple[float, ...],
) -> keras.Model:
    """Flatten, then a dense ReLU layer and dropout for each width in `hidden`, then softmax.

    Args:
        shape: of the input, (height, width, channels).
        classes: width of the output.
        regularization: of the hidden layers.
        hidden: widths of the hidden layers, from the input on.
        dropout: share that is dropped after each of them.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).
    """
    image = parts.picture(shape)
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    for width, share in zip(hidden, dropout, strict=True):
        x = layers.Dense(width, activation="relu", kernel_regularizer=regularization.kernel())(x)
        x = parts.drop(x, regularization.drop(share))
    return keras.Model(image, parts.softmax(x, classes))


MODELS = {
    "mlp-32": partial(mlp, hidden=(32,), dropout=(0.0,)),
    "mlp-512": partial(mlp, hidden=(512,), dropout=(0.2,)),
    "mlp-256-128": partial(mlp, hidden=(256, 128), dropout=(0.4, 0.3)),
}
