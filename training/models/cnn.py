"""Plain convolutional networks: one family that shrinks by pooling, one by strides.

F. Chollet, "Deep Learning with Python", chapters 5 and 8, and R. Atienza, "Advanced Deep Learning with Keras",
chapter 1, for the first; J. Howard and S. Gugger, "Deep Learning for Coders with fastai and PyTorch", chapter 13, for
the second.
"""

from functools import partial

import keras
from keras import layers

from training.models import parts
from training.models.regularization import Regularization
from training.readers import Shape

# PyTorch's values, which the book trained with. Keras's own momentum, 0.99, forgets its start only after hundreds of
# batches, and the published run has 118; Keras's own weights reached 0.002 less in one epoch.
BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}
WEIGHTS = {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"}
# Where a normalisation follows, the scale only says how fast a kernel turns: PyTorch's reached 0.0005 less in one epoch
# and as much in five (8 and 5 seeds).
NORMALISED_WEIGHTS = {**WEIGHTS, "scale": 0.1}


def pooled(  # noqa: PLR0913 - what the table says of each network
    shape: Shape,
    classes: int,
    regularization: Regularization,
    *,
    filters: tuple[int, ...],
    pool_last: bool = False,
    dropout: float = 0.0,
    dense: tuple[int, ...] = (),
    one_unit: bool = False,
) -> keras.Model:
    """3×3 convolutions without padding, each followed by 2×2 max pooling; Flatten, dropout, dense layers; all ReLU.

    Args:
        shape: of the input, (height, width, channels); at least 18 × 18 for three convolutions.
        classes: width of the output.
        regularization: of everything below the output.
        filters: one convolution each.
        pool_last: pool after the last convolution too.
        dropout: share of the flattened features dropped in training.
        dense: widths of the layers between them and the output.
        one_unit: the output is one sigmoid unit instead of a softmax over the classes.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).

    Raises:
        WrongUse: one unit, and not two classes.
    """
    image = parts.picture(shape)
    x = layers.Rescaling(1 / 255)(image)
    for number, width in enumerate(filters, 1):
        x = layers.Conv2D(width, 3, activation="relu", kernel_regularizer=regularization.kernel())(x)
        x = layers.MaxPooling2D()(x) if pool_last or number < len(filters) else x
    x = parts.drop(layers.Flatten()(x), regularization.drop(dropout))
    for width in dense:
        x = layers.Dense(width, activation="relu", kernel_regularizer=regularization.kernel())(x)
    return keras.Model(image, (parts.sigmoid if one_unit else parts.softmax)(x, classes))


def strided(  # noqa: PLR0913 - as above
    shape: Shape,
    classes: int,
    regularization: Regularization,
    *,
    filters: tuple[int, ...],
    first_kernel: int = 3,
    batch_norm: bool = False,
) -> keras.Model:
    """Convolutions of stride 2 with padding, the last one with a map for each class; softmax.

    Args:
        shape: of the input, (height, width, channels). Up to 32 × 32, one pixel a class is left, as in the book; of
            larger pictures the average of what is left is taken.
        classes: width of the output.
        regularization: of the convolutions; its dropout stands before the last one.
        filters: one convolution with ReLU each.
        first_kernel: side of the first convolution's kernel; the others' is 3.
        batch_norm: normalise after every convolution, the last one included.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).
    """
    image = parts.picture(shape)
    x = layers.Rescaling(1 / 255)(image)
    for number, width in enumerate((*filters, classes)):
        x = layers.ReLU()(x) if number else x
        x = parts.drop(x, regularization.drop(0.0) if number == len(filters) else 0.0)
        weights = keras.initializers.VarianceScaling(**(NORMALISED_WEIGHTS if batch_norm else WEIGHTS))
        kernel = 3 if number else first_kernel
        penalty = regularization.kernel()
        x = layers.Conv2D(width, kernel, 2, "same", kernel_initializer=weights, kernel_regularizer=penalty)(x)
        x = layers.BatchNormalization(**BATCH_NORM)(x) if batch_norm else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Softmax(dtype="float32", name="probabilities")(x))


_stride2 = partial(strided, filters=(8, 16, 32, 64), first_kernel=5)

MODELS = {
    "cnn": partial(pooled, filters=(64, 64, 64), dropout=0.3),
    "cnn-small": partial(pooled, filters=(32, 64, 64), dense=(64,)),
    "cats-dogs": partial(pooled, filters=(32, 64, 128, 128), pool_last=True, dropout=0.5, dense=(512,), one_unit=True),
    "cnn-stride2": _stride2,
    "cnn-stride2-bn": partial(_stride2, batch_norm=True),
    "threes-sevens": partial(strided, filters=(4, 8, 16, 32)),
}
