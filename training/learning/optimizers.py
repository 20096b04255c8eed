"""The optimizers, with a rate and a momentum of their own for every batch.

Both stand in the compiled step as tables that it looks up by its own count of batches. Callbacks that set them between
batches would force a return to Python for each, which costs small networks half of their speed.
"""

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from training.learning.schedules import Paces

MOMENTUM = 0.9  # of SGD, where the schedule does not cycle it
BETA_2, EPSILON = 0.99, 1e-5  # of Adam under 1cycle, as in fastai, where that recipe was published


def optimizer(name: str, paces: Paces) -> keras.Optimizer:
    """The optimizer of this name (one of `training.config.OPTIMIZERS`) at these paces.

    Its attribute `slowdown` is a variable that multiplies every rate, for who watches the progress. RMSprop has no
    momentum that could be cycled.
    """
    slowdown = keras.Variable(1.0, trainable=False, name="slowdown")
    rate = Rates(paces, slowdown)
    made = {"adam": _adam, "sgd": _sgd, "rmsprop": _rmsprop}[name](rate, paces)
    made.slowdown = slowdown  # as its own attribute it is one of the optimizer's variables: saved, and traced on JAX
    return made


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of a batch, looked up."""

    def __init__(self, paces: Paces, slowdown: keras.Variable) -> None:
        super().__init__()
        self.table, self.slowdown = paces.rates.astype("float32"), slowdown

    def __call__(self, step: keras.Variable) -> keras.KerasTensor:
        """That of the batch number `step`, from 0."""
        return lookup(self.table, step) * self.slowdown


class CycledAdam(keras.optimizers.Adam):
    """Adam whose beta_1 is looked up."""

    def __init__(self, rate: Rates, paces: Paces) -> None:
        super().__init__(rate, beta_2=BETA_2, epsilon=EPSILON)
        self.table = paces.momenta.astype("float32")

    @property
    def beta_1(self) -> keras.KerasTensor:
        """That of the coming batch."""
        return lookup(self.table, self.iterations)

    @beta_1.setter
    def beta_1(self, _: float) -> None:
        """Keras's own constructor sets a number, which the table replaces."""


class CycledSGD(keras.optimizers.SGD):
    """SGD with Nesterov momentum (I. Sutskever et al., 2013) that is looked up."""

    def __init__(self, rate: Rates, paces: Paces) -> None:
        super().__init__(rate, momentum=MOMENTUM, nesterov=True)
        self.table = paces.momenta.astype("float32")

    def update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, learning_rate: keras.KerasTensor
    ) -> None:
        """As Keras's own, which asks by a Python `if` whether there is a momentum, and so cannot take a tensor."""
        momentum = ops.cast(lookup(self.table, self.iterations), variable.dtype)
        step = ops.cast(learning_rate, variable.dtype) * ops.cast(gradient, variable.dtype)
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, momentum * velocity - step)
        self.assign_add(variable, momentum * velocity - step)


def lookup(table: NDArray[np.float32], step: keras.Variable) -> keras.KerasTensor:
    """`table` at `step`; past its end, its last value."""
    return ops.take(ops.convert_to_tensor(table), ops.minimum(ops.cast(step, "int32"), len(table) - 1))


def _adam(rate: Rates, paces: Paces) -> keras.Optimizer:
    return keras.optimizers.Adam(rate) if paces.momenta is None else CycledAdam(rate, paces)


def _sgd(rate: Rates, paces: Paces) -> keras.Optimizer:
    if paces.momenta is None:
        return keras.optimizers.SGD(rate, momentum=MOMENTUM, nesterov=True)
    return CycledSGD(rate, paces)


def _rmsprop(rate: Rates, _: Paces) -> keras.Optimizer:
    return keras.optimizers.RMSprop(rate)
