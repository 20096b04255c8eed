"""Learning rate and momentum of every batch, as plain functions."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# After these shares of the epochs, the rate is this much of the recipe's. For 200 epochs: after 80, 120, 160 and 180,
# as in R. Atienza, "Advanced Deep Learning with Keras", chapter 2.
STEPS = ((0.4, 1e-1), (0.6, 1e-2), (0.8, 1e-3), (0.9, 5e-4))

# fastai's values for the policy of L. Smith, "A disciplined approach to neural network hyper-parameters", 2018.
RISE = 0.25  # share of the batches in which the rate rises
FIRST, LAST = 1 / 25, 1e-5  # of the maximum
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85


class Paces(NamedTuple):
    """What each of B batches is trained with."""

    rates: NDArray[np.float64]  # (B,)
    momenta: NDArray[np.float64] | None = None  # (B,), or None where it stays what the optimizer makes it


def paces(schedule: str, rate: float, epochs: int, batches: int) -> Paces:
    """The schedule, one of `training.config.SCHEDULES`, for epochs of `batches` batches; `rate` is its highest."""
    makers = {"constant": _constant, "step": _step, "1cycle": _one_cycle}
    return makers[schedule](rate, epochs, batches)


def _constant(rate: float, epochs: int, batches: int) -> Paces:
    return Paces(np.full(epochs * batches, rate))


def _step(rate: float, epochs: int, batches: int) -> Paces:
    factors = np.ones(epochs)
    for share, factor in STEPS:
        factors[round(share * epochs) :] = factor
    return Paces(np.repeat(rate * factors, batches))


def _one_cycle(rate: float, epochs: int, batches: int) -> Paces:
    """The rate rises to the recipe's and falls to almost nothing, by cosines; momentum goes the other way."""
    last = max(1, epochs * batches - 1)
    peak = max(1, round(last * RISE))
    rise, fall = np.arange(peak + 1) / peak, np.arange(1, last - peak + 1) / max(1, last - peak)
    return Paces(
        np.concatenate([_cosine(rate * FIRST, rate, rise), _cosine(rate, rate * LAST, fall)])[: epochs * batches],
        np.concatenate([_cosine(MOMENTUM_HIGH, MOMENTUM_LOW, rise), _cosine(MOMENTUM_LOW, MOMENTUM_HIGH, fall)])[
            : epochs * batches
        ],
    )


def _cosine(start: float, end: float, done: NDArray[np.float64]) -> NDArray[np.float64]:
    return end + (start - end) * (1 + np.cos(np.pi * done)) / 2
