"""Training proper: uint8 arrays and a recipe in, the best weights in the model, the history out."""

import time
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from artifacts.errors import TintypeError
from training.callbacks import Best, Pacer, Progress
from training.config import Recipe
from training.schedules import schedule

SHIFT = 0.1  # of the height and the width
BETA_2, EPSILON = 0.99, 1e-5  # of Adam under 1cycle, as in fastai, where that recipe was published


@dataclass(frozen=True)
class Fit:
    """What a training told."""

    history: list[dict[str, float]]  # rows of history.csv
    best_epoch: int  # from 1, the one whose weights the model has now
    rates: list[float]  # learning rate of every batch
    seconds: float


@dataclass(frozen=True)
class Examples:
    """`pixels` uint8 (N, height, width, channels), `classes` int64 (N,)."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]


def fit(model: keras.Model, train: Examples, validation: Examples, recipe: Recipe) -> Fit:
    """Train `model` in place; it ends with the weights of its best epoch.

    The loss in the history contains the L2 penalty. The model itself is never compiled and holds no augmentation: both
    belong to a wrapper around it, so that what is saved is the network alone.

    Raises:
        TintypeError: the loss was no number from the first epoch on.
    """
    started = time.perf_counter()
    batches = -(-len(train.pixels) // recipe.batch_size)
    optimizer, momentum = _optimizer(recipe)
    wrapper = keras.Sequential([keras.Input(model.input_shape[1:], dtype="uint8"), *_augmentation(recipe), model])
    wrapper.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    pacer, best = Pacer(schedule(recipe, batches), momentum), Best(model)
    progress = Progress(recipe.epochs, batches, pacer)
    wrapper.fit(
        train.pixels,
        train.classes,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        validation_data=(validation.pixels, validation.classes),
        callbacks=[pacer, best, progress],
        verbose=0,
    )
    if not best.epoch:
        raise TintypeError(f"the loss became no number; lower learning_rate (it is {recipe.learning_rate})")
    model.set_weights(best.weights)
    return Fit(progress.history, best.epoch, pacer.rates, time.perf_counter() - started)


def _optimizer(recipe: Recipe) -> tuple[keras.Optimizer, keras.Variable | None]:
    """The optimizer, and the variable that it reads its momentum from, where 1cycle can change it.

    Adam takes beta_1 as a number, which a compiled graph holds for good; a variable of the optimizer can be changed
    between batches. The momentum of SGD is asked for by a Python `if` and stays what it is; RMSprop has none.
    """
    rate = recipe.learning_rate
    if recipe.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate), None
    if recipe.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), None
    if recipe.schedule != "1cycle":
        return keras.optimizers.Adam(rate), None
    optimizer = keras.optimizers.Adam(rate, beta_2=BETA_2, epsilon=EPSILON)
    optimizer.beta_1 = keras.Variable(optimizer.beta_1, trainable=False, name="beta_1")
    return optimizer, optimizer.beta_1


def _augmentation(recipe: Recipe) -> list[keras.Layer]:
    shift = layers.RandomTranslation(SHIFT, SHIFT, fill_mode="nearest")
    flip = layers.RandomFlip("horizontal")
    return {"none": [], "shift": [shift], "shift-flip": [shift, flip]}[recipe.augment]
