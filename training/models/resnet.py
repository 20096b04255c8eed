"""Residual networks for small pictures.

K. He et al., "Deep Residual Learning for Image Recognition", 2015 (v1), and "Identity Mappings in Deep Residual
Networks", 2016 (v2), with the details of R. Atienza, "Advanced Deep Learning with Keras", chapter 2: the shortcut is a
linear 1×1 projection without normalisation where the number of filters changes, and in v2 in each stage's first block.
"""

from functools import partial

import keras
from keras import KerasTensor, layers

from training.models import parts
from training.models.depth import repeats
from training.models.regularization import Regularization
from training.readers import Shape

STAGES = (16, 32, 64)  # filters
EXPANSION = 4  # of the outputs of v2's first stage

Convolution = partial[layers.Conv2D]


def resnet_v1(shape: Shape, classes: int, regularization: Regularization, *, depth: int) -> keras.Model:
    """A first convolution, three stages of (depth - 2) / 6 blocks, average pooling over the last map, softmax.

    Args:
        shape: of the input, (height, width, channels); at least 8 × 8.
        classes: width of the output.
        regularization: of the convolutions, 1e-4 of L2 in the paper; its dropout stands before the output.
        depth: 6n + 2, the number of layers with weights, projections not counted.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).

    Raises:
        WrongUse: there is no network of this depth.
    """
    blocks = repeats("ResNet v1", depth, 6, 2)
    convolution = _convolution(regularization)
    image = parts.picture(shape)
    x = _first(image, convolution)
    for stage, filters in enumerate(STAGES):
        for block in range(blocks):
            x = _block(x, partial(convolution, filters), shrink=stage > 0 and block == 0)
    return keras.Model(image, _answer(x, classes, regularization))


def resnet_v2(shape: Shape, classes: int, regularization: Regularization, *, depth: int) -> keras.Model:
    """As v1, of (depth - 2) / 9 bottleneck blocks a stage, which normalise before they convolve.

    Args:
        shape: of the input, (height, width, channels); at least 8 × 8.
        classes: width of the output.
        regularization: of the convolutions; its dropout stands before the output.
        depth: 9n + 2, the number of layers with weights, projections not counted.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).

    Raises:
        WrongUse: there is no network of this depth.
    """
    blocks = repeats("ResNet v2", depth, 9, 2)
    convolution = _convolution(regularization)
    image = parts.picture(shape)
    x = _first(image, convolution)
    inside = STAGES[0]
    for stage in range(len(STAGES)):
        outside = inside * (2 if stage else EXPANSION)
        for block in range(blocks):
            x = _bottleneck(x, convolution, inside, outside, stage=stage, first=block == 0)
        inside = outside
    return keras.Model(image, _answer(parts.activate(x), classes, regularization))


def _convolution(regularization: Regularization) -> Convolution:
    """Each convolution of a network, but for its filters and kernel."""
    penalty = regularization.kernel()
    return partial(layers.Conv2D, padding="same", kernel_initializer="he_normal", kernel_regularizer=penalty)


def _first(image: KerasTensor, convolution: Convolution) -> KerasTensor:
    return parts.activate(convolution(STAGES[0], 3)(layers.Rescaling(1 / 255)(image)))


def _block(x: KerasTensor, convolution: Convolution, *, shrink: bool) -> KerasTensor:
    """Convolution, normalisation, ReLU, convolution, normalisation, add, ReLU; with `shrink`, half the size."""
    stride = 2 if shrink else 1
    y = parts.activate(convolution(3, strides=stride)(x))
    y = layers.BatchNormalization()(convolution(3)(y))
    shortcut = convolution(1, strides=stride)(x) if shrink else x
    return layers.ReLU()(layers.Add()([shortcut, y]))


def _bottleneck(  # noqa: PLR0913 - its place, its widths
    x: KerasTensor, convolution: Convolution, inside: int, outside: int, *, stage: int, first: bool
) -> KerasTensor:
    """1×1, 3×3, 1×1, each after normalisation and ReLU, and added; a stage's first block but stage 0's halves the size.

    What comes into the very first block was activated already.
    """
    stride = 2 if stage and first else 1
    y = x if first and not stage else parts.activate(x)
    y = convolution(inside, 1, strides=stride)(y)
    y = convolution(inside, 3)(parts.activate(y))
    y = convolution(outside, 1)(parts.activate(y))
    shortcut = convolution(outside, 1, strides=stride)(x) if first else x
    return layers.Add()([shortcut, y])


def _answer(x: KerasTensor, classes: int, regularization: Regularization) -> KerasTensor:
    x = parts.drop(layers.GlobalAveragePooling2D()(x), regularization.drop(0.0))
    return parts.softmax(x, classes, "he_normal")


MODELS = {
    "resnet20v1": partial(resnet_v1, depth=20),
    "resnet32v1": partial(resnet_v1, depth=32),
    "resnet44v1": partial(resnet_v1, depth=44),
    "resnet56v1": partial(resnet_v1, depth=56),
    "resnet110v1": partial(resnet_v1, depth=110),
    "resnet56v2": partial(resnet_v2, depth=56),
    "resnet110v2": partial(resnet_v2, depth=110),
}
