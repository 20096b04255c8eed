"""Learning rate and momentum, batch by batch, as plain functions."""

import math
from collections.abc import Callable
from typing import NamedTuple

from training.config import Recipe


class Pace(NamedTuple):
    """What one batch is trained with; only 1cycle under Adam looks at the momentum."""

    rate: float
    momentum: float = 0.9


Schedule = Callable[[int], Pace]  # number of the batch, from 0 -> its pace

# After these epochs, the rate is this much of the recipe's: R. Atienza, "Advanced Deep Learning with Keras", chapter 2.
STEPS = ((80, 1e-1), (120, 1e-2), (160, 1e-3), (180, 5e-4))

# fastai's values for the policy of L. Smith, "A disciplined approach to neural network hyper-parameters", 2018.
RISE = 0.25  # share of the batches in which the rate rises
FIRST, LAST = 1 / 25, 1e-5  # of the maximum
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85


def schedule(recipe: Recipe, batches: int) -> Schedule:
    """The recipe's schedule for epochs of `batches` batches."""
    makers = {"constant": _constant, "step": _step, "1cycle": _one_cycle}
    return makers[recipe.schedule](recipe, batches)


def _constant(recipe: Recipe, _batches: int) -> Schedule:
    return lambda _batch: Pace(recipe.learning_rate)


def _step(recipe: Recipe, batches: int) -> Schedule:
    def pace(batch: int) -> Pace:
        factors = [1.0, *(factor for epoch, factor in STEPS if batch >= epoch * batches)]
        return Pace(recipe.learning_rate * factors[-1])

    return pace


def _one_cycle(recipe: Recipe, batches: int) -> Schedule:
    """The rate rises to the recipe's and falls to almost nothing, by cosines; momentum goes the other way."""
    last = max(1, recipe.epochs * batches - 1)
    top = recipe.learning_rate

    def pace(batch: int) -> Pace:
        peak = max(1, round(last * RISE))
        if batch <= peak:
            done = batch / peak
            return Pace(_cosine(top * FIRST, top, done), _cosine(MOMENTUM_HIGH, MOMENTUM_LOW, done))
        done = (batch - peak) / (last - peak)
        return Pace(_cosine(top, top * LAST, done), _cosine(MOMENTUM_LOW, MOMENTUM_HIGH, done))

    return pace


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
