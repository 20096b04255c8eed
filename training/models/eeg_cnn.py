"""A network for signals shown as pictures: a row a moment, a column a channel of an electroencephalogram."""

from functools import partial

import keras
from keras import layers

from training.models import parts
from training.models.regularization import Regularization
from training.readers import Shape

DROPOUT = 0.5


def eeg_cnn(
    shape: Shape,
    classes: int,
    regularization: Regularization,
    *,
    filters: tuple[int, ...],
    dense: tuple[int, ...],
) -> keras.Model:
    """3×3 convolutions with normalisation, ReLU and 2×2 max pooling; dense ReLU layers; one sigmoid unit.

    Args:
        shape: of the input, (height, width, channels); at least 8 × 8 for three convolutions.
        classes: 2.
        regularization: of everything below the output.
        filters: one convolution each.
        dense: widths of the layers between them and the output; dropout follows each but the last.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, 2).

    Raises:
        WrongUse: there are not two classes.
    """
    image = parts.picture(shape)
    x = layers.Rescaling(1 / 255)(image)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", kernel_regularizer=regularization.kernel())(x)
        x = layers.MaxPooling2D()(parts.activate(x))
    x = layers.Flatten()(x)
    for number, width in enumerate(dense, 1):
        x = layers.Dense(width, activation="relu", kernel_regularizer=regularization.kernel())(x)
        x = parts.drop(x, regularization.drop(DROPOUT)) if number < len(dense) else x
    return keras.Model(image, parts.sigmoid(x, classes))


MODELS = {
    "eeg-cnn": partial(eeg_cnn, filters=(64, 64, 32), dense=(64, 32)),
}
