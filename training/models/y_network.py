"""The Y-network: two branches that see a picture at two scales.

R. Atienza, "Advanced Deep Learning with Keras", chapter 2. There the network has two inputs, which are always given the
same picture; here it has one, which feeds both branches, so that what is trained is also what is exported.
"""

from functools import partial

import keras
from keras import KerasTensor, layers

from training.models import parts
from training.models.regularization import Regularization
from training.readers import Shape

DROPOUT = 0.4


def y_network(shape: Shape, classes: int, regularization: Regularization, *, filters: tuple[int, ...]) -> keras.Model:
    """Two branches of the same build, the right one with kernels dilated by 2; concatenate, Flatten, dropout, softmax.

    Args:
        shape: of the input, (height, width, channels); at least 8 × 8 for three convolutions.
        classes: width of the output.
        regularization: of everything below the output.
        filters: one convolution of each branch each.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).
    """
    image = parts.picture(shape)
    x = layers.Rescaling(1 / 255)(image)
    both = [_branch(x, filters, regularization, dilation) for dilation in (1, 2)]
    x = layers.Flatten()(layers.Concatenate()(both))
    return keras.Model(image, parts.softmax(parts.drop(x, regularization.drop(DROPOUT)), classes))


def _branch(x: KerasTensor, filters: tuple[int, ...], regularization: Regularization, dilation: int) -> KerasTensor:
    """3×3 convolution with ReLU, dropout, 2×2 max pooling, for each of `filters`."""
    for width in filters:
        x = layers.Conv2D(
            width,
            3,
            padding="same",
            dilation_rate=dilation,
            activation="relu",
            kernel_regularizer=regularization.kernel(),
        )(x)
        x = layers.MaxPooling2D()(parts.drop(x, regularization.drop(DROPOUT)))
    return x


MODELS = {
    "y-network": partial(y_network, filters=(32, 64, 128)),
}
