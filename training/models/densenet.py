"""Densely connected networks for small pictures: DenseNet-BC.

G. Huang et al., "Densely Connected Convolutional Networks", 2016, with the details of R. Atienza, "Advanced Deep
Learning with Keras", chapter 2: the first convolution comes after a normalisation and ReLU of the picture and is
concatenated with it, and the classifier follows the last block without another normalisation.
"""

from functools import partial

import keras
from keras import KerasTensor, layers

from training.models import parts
from training.models.depth import repeats
from training.models.regularization import Regularization
from training.readers import Shape

BLOCKS = 3
BOTTLENECK = 4  # filters of a bottleneck, as a multiple of the growth
COMPRESSION = 0.5  # of the maps between two blocks


def densenet_bc(shape: Shape, classes: int, regularization: Regularization, *, depth: int, growth: int) -> keras.Model:
    """A first convolution, three blocks of (depth - 4) / 6 bottleneck layers, average pooling, softmax.

    Args:
        shape: of the input, (height, width, channels); at least 4 × 4.
        classes: width of the output.
        regularization: of the convolutions. Its dropout follows each of them but the first: 0.2 in paper and book where
            there is no augmentation, none by itself.
        depth: 6n + 4, the number of layers with weights.
        growth: maps that a layer adds.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).

    Raises:
        WrongUse: there is no network of this depth.
    """
    count = repeats("DenseNet of three blocks", depth, 2 * BLOCKS, 4)
    image = parts.picture(shape)
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Concatenate()([x, _convolution(parts.activate(x), 2 * growth, 3, regularization)])
    maps = 2 * growth
    for block in range(BLOCKS):
        for _ in range(count):
            x = layers.Concatenate()([x, _bottleneck(x, growth, regularization)])
        maps += count * growth
        if block < BLOCKS - 1:
            maps = int(maps * COMPRESSION)
            x = _transition(x, maps, regularization)
    return keras.Model(image, parts.softmax(layers.GlobalAveragePooling2D()(x), classes, "he_normal"))


def _bottleneck(x: KerasTensor, growth: int, regularization: Regularization) -> KerasTensor:
    """1×1 to four times the growth, 3×3 to the growth, each after normalisation and ReLU."""
    share = regularization.drop(0.0)
    y = parts.drop(_convolution(parts.activate(x), BOTTLENECK * growth, 1, regularization), share)
    return parts.drop(_convolution(parts.activate(y), growth, 3, regularization), share)


def _transition(x: KerasTensor, maps: int, regularization: Regularization) -> KerasTensor:
    """Normalisation, 1×1 to `maps`, 2×2 average pooling."""
    y = _convolution(layers.BatchNormalization()(x), maps, 1, regularization)
    return layers.AveragePooling2D(2)(parts.drop(y, regularization.drop(0.0)))


def _convolution(x: KerasTensor, filters: int, kernel: int, regularization: Regularization) -> KerasTensor:
    penalty = regularization.kernel()
    return layers.Conv2D(filters, kernel, padding="same", kernel_initializer="he_normal", kernel_regularizer=penalty)(x)


MODELS = {
    "densenet100bc": partial(densenet_bc, depth=100, growth=12),
    "densenet190bc": partial(densenet_bc, depth=190, growth=40),
    "densenet250bc": partial(densenet_bc, depth=250, growth=24),
}
