"""Every architecture as the presets design it, and what is asserted of each."""

from typing import NamedTuple

import keras
import numpy as np

from training import models, presets, readers

# Those that take many seconds each, or only repeat the blocks of a shallower one: the acceptance tier has them.
DEEP = {
    "densenet100bc",
    "densenet121",
    "densenet190bc",
    "densenet250bc",
    "densenet169",
    "densenet201",
    "resnet101",
    "resnet101v2",
    "resnet110v1",
    "resnet110v2",
    "resnet152",
    "resnet152v2",
    "resnet44v1",
    "resnet56v1",
}


class Design(NamedTuple):
    model: str
    shape: tuple[int, int, int]
    classes: int
    parameters: int


def designs(*, deep: bool) -> list[Design]:
    """Each architecture once, however many presets share it."""
    read = map(presets.read, presets.names())
    found = {Design(each.model, readers.shape(each.input), each.classes, each.parameters) for each in read}
    return sorted(design for design in found if (design.model in DEEP) == deep)


def noise(shape, count):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def answer(model, pixels):
    """As `predict`, without the seconds that compiling takes."""
    return keras.ops.convert_to_numpy(model(pixels, training=False))


def check(design):
    """Its parameters, its two ends, and one real training step."""
    model = models.build(design.model, design.shape, design.classes, seed=0)
    assert model.count_params() == design.parameters
    assert (model.input.name, model.input.dtype, model.input.shape) == ("image", "uint8", (None, *design.shape))
    assert (model.layers[-1].name, model.output.dtype) == ("probabilities", "float32")
    assert model.output.shape == (None, design.classes)
    _step(model, noise(design.shape, 2), np.array([0, 1]))


def _step(model, pixels, classes):
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True)
    before = [variable.numpy() for variable in model.trainable_variables]
    assert np.isfinite(model.train_on_batch(pixels, classes))
    for old, variable in zip(before, model.trainable_variables, strict=True):
        new = variable.numpy()
        assert np.isfinite(new).all(), variable.path
        # A bias before a normalisation has no say, so that its gradient is none.
        assert variable.name != "kernel" or not np.array_equal(old, new), variable.path
