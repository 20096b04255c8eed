"""The augmentation sheet: training pictures, and what the network is shown in their place."""

import keras
import numpy as np
from numpy.typing import NDArray

from training.learning.augment import augmentation
from training.learning.feed import Examples
from training.report import inline

PICTURES, VERSIONS = 6, 8


def sheet(name: str, examples: Examples, seed: int) -> list[list[str]]:
    """Rows of pictures as `data:` addresses: an original of the training part, and VERSIONS of it.

    Args:
        name: one of `training.config.AUGMENTATIONS`; of `none` the sheet is empty.
        examples: the training part. Pictures of as many classes as there is room for are chosen.
        seed: the same gives the same sheet.
    """
    layers = augmentation(name)
    if not layers:
        return []
    for place, layer in enumerate(layers):
        layer.generator = keras.random.SeedGenerator(seed + place)
    originals = examples.pixels[_chosen(examples)]
    columns = [originals, *(_augmented(layers, originals) for _ in range(VERSIONS))]
    return [[inline.picture(column[row]) for column in columns] for row in range(len(originals))]


def _chosen(examples: Examples) -> NDArray[np.int64]:
    """Rows of pictures, class by class in turn."""
    order = np.argsort(examples.true, kind="stable")
    places = np.linspace(0, len(order) - 1, min(PICTURES, len(order))).round().astype(int)
    return np.sort(examples.rows[order[places]])


def _augmented(layers: list[keras.Layer], originals: NDArray[np.uint8]) -> NDArray[np.uint8]:
    changed = keras.ops.convert_to_tensor(originals)
    for layer in layers:
        changed = layer(changed, training=True)
    return np.clip(keras.ops.convert_to_numpy(changed).round(), 0, 255).astype(np.uint8)
