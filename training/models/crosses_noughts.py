"""A network small enough to be looked at whole, for drawings of crosses and noughts.

After B. Rohrer, "How convolutional neural networks work", 2016: three features, ReLU, pooling, all of it again, a vote.
"""

from functools import partial

import keras
from keras import layers

from training.models import parts
from training.models.regularization import Regularization
from training.readers import Shape


def crosses_noughts(
    shape: Shape, classes: int, regularization: Regularization, *, features: tuple[int, ...]
) -> keras.Model:
    """Convolutions of 3×3 `features` with ReLU and 2×2 max pooling, whose maps vote for the classes.

    Everything is padded, so that a drawing of 9 × 9 becomes maps of 5 × 5 and then of 3 × 3, and no edge is lost.

    Args:
        shape: of the input, (height, width, channels).
        classes: width of the output.
        regularization: of the convolutions; its dropout stands before the vote.
        features: one convolution each.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).
    """
    image = parts.picture(shape)
    x = layers.Rescaling(1 / 255)(image)
    for count in features:
        x = layers.ReLU()(layers.Conv2D(count, 3, padding="same", kernel_regularizer=regularization.kernel())(x))
        x = layers.MaxPooling2D(padding="same")(x)
    x = parts.drop(layers.Flatten()(x), regularization.drop(0.0))
    return keras.Model(image, parts.softmax(x, classes))


MODELS = {
    "crosses-noughts": partial(crosses_noughts, features=(3, 3)),
}
