"""Plain convolutional networks: one family that shrinks by pooling, one by strides.

F. Chollet, "Deep Learning with Python", chapter 8, and R. Atienza, "Advanced Deep Learning with Keras", chapter 1, for
the first; J. Howard and S. Gugger, "Deep Learning for Coders with fastai and PyTorch", chapter 13, for the second.
"""

from functools import partial

import keras
from keras import layers

from training.config import Shape

# PyTorch's values, which the book trained with. Keras's own momentum, 0.99, forgets its start only after hundreds of
# batches, and the published run has 118; Keras's own weights reached 0.002 less in one epoch.
BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}
WEIGHTS = {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"}


def pooled(
    shape: Shape, classes: int, l2: float = 0.0, *, filters: tuple[int, ...], dropout: float = 0.0
) -> keras.Model:
    """3×3 convolutions without padding, each but the last followed by 2×2 max pooling; Flatten, dropout, softmax.

    Args:
        shape: of the input, (height, width, channels); at least 18 × 18 for three convolutions.
        classes: width of the output.
        l2: factor of the squared kernels in the loss.
        filters: one convolution each.
        dropout: share of the flattened features dropped in training.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).
    """
    picture = keras.Input(shape, dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(picture)
    for number, width in enumerate(filters):
        x = layers.MaxPooling2D()(x) if number else x
        x = layers.Conv2D(width, 3, activation="relu", kernel_regularizer=_penalty(l2))(x)
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    return keras.Model(picture, layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x))


def strided(shape: Shape, classes: int, l2: float = 0.0, *, filters: tuple[int, ...], batch_norm: bool) -> keras.Model:
    """Convolutions of stride 2 with padding, 5×5 and then 3×3, the last one with a map for each class; softmax.

    Args:
        shape: of the input, (height, width, channels). Up to 32 × 32, one pixel a class is left, as in the book; of
            larger pictures the average of what is left is taken.
        classes: width of the output.
        l2: factor of the squared kernels in the loss.
        filters: one convolution with ReLU each.
        batch_norm: normalise after every convolution, the last one included.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).
    """
    picture = keras.Input(shape, dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(picture)
    for number, width in enumerate((*filters, classes)):
        x = layers.ReLU()(x) if number else x
        kernel = 3 if number else 5
        weights = keras.initializers.VarianceScaling(**WEIGHTS)
        x = layers.Conv2D(width, kernel, 2, "same", kernel_initializer=weights, kernel_regularizer=_penalty(l2))(x)
        x = layers.BatchNormalization(**BATCH_NORM)(x) if batch_norm else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Softmax(dtype="float32", name="probabilities")(x))


def _penalty(l2: float) -> keras.Regularizer | None:
    return keras.regularizers.L2(l2) if l2 else None


MODELS = {
    "cnn": partial(pooled, filters=(64, 64, 64), dropout=0.3),
    "cnn-stride2-bn": partial(strided, filters=(8, 16, 32, 64), batch_norm=True),
}
