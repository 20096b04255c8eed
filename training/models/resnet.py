"""Residual networks for small pictures.

K. He et al., "Deep Residual Learning for Image Recognition", 2015 (v1), with the projections of R. Atienza, "Advanced
Deep Learning with Keras", chapter 2: 1×1 and linear, without normalisation, where the number of filters changes.
"""

from functools import partial

import keras
from keras import KerasTensor, layers

from artifacts.errors import WrongUse
from training.config import Shape

STAGES = (16, 32, 64)  # filters


def resnet_v1(shape: Shape, classes: int, l2: float = 0.0, *, depth: int) -> keras.Model:
    """A first convolution, three stages of (depth - 2) / 6 blocks, average pooling over the last map, softmax.

    Args:
        shape: of the input, (height, width, channels); at least 8 × 8.
        classes: width of the output.
        l2: factor of the squared kernels of the convolutions in the loss; 1e-4 in the paper.
        depth: 6n + 2, the number of layers with weights, projections not counted.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).

    Raises:
        WrongUse: there is no network of this depth.
    """
    blocks = _blocks(depth)
    convolution = partial(
        layers.Conv2D, padding="same", kernel_initializer="he_normal", kernel_regularizer=keras.regularizers.L2(l2)
    )
    picture = keras.Input(shape, dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(picture)
    x = layers.ReLU()(layers.BatchNormalization()(convolution(STAGES[0], 3)(x)))
    for stage, filters in enumerate(STAGES):
        for block in range(blocks):
            x = _block(x, partial(convolution, filters), shrink=stage > 0 and block == 0)
    x = layers.GlobalAveragePooling2D()(x)
    head = layers.Dense(
        classes, activation="softmax", kernel_initializer="he_normal", dtype="float32", name="probabilities"
    )
    return keras.Model(picture, head(x))


def _block(x: KerasTensor, convolution: partial[layers.Conv2D], *, shrink: bool) -> KerasTensor:
    """Convolution, normalisation, ReLU, convolution, normalisation, add, ReLU; with `shrink`, half the size."""
    stride = 2 if shrink else 1
    y = layers.ReLU()(layers.BatchNormalization()(convolution(3, strides=stride)(x)))
    y = layers.BatchNormalization()(convolution(3)(y))
    shortcut = convolution(1, strides=stride)(x) if shrink else x
    return layers.ReLU()(layers.Add()([shortcut, y]))


def _blocks(depth: int) -> int:
    """Blocks in a stage."""
    if depth < 8 or depth % 6 != 2:  # noqa: PLR2004 - the formula of the paper
        below = max(8, (depth - 2) // 6 * 6 + 2)
        raise WrongUse(f"the depth of a ResNet must be 6n+2, such as {below} or {below + 6}; received {depth}")
    return (depth - 2) // 6


MODELS = {
    "resnet20v1": partial(resnet_v1, depth=20),
}
