"""The tables inside the compiled step do what Keras's own optimizers do when told between the steps."""

import keras
import numpy as np
import pytest

from training import config
from training.learning.optimizers import BETA_2, EPSILON, optimizer
from training.learning.schedules import Paces, paces

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)).astype(np.float32), RNG.integers(0, 3, 40)
BATCHES = 10


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, activation="softmax")])


def trained(made, steps=1, before=None):
    """The weights after ten batches of four; `before` may change the optimizer before each."""
    model = network()
    model.compile(made, "sparse_categorical_crossentropy", steps_per_execution=steps)
    telling = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: before(batch))  # noqa: ARG005
    told = [telling] if before else []
    model.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0, callbacks=told)
    return model.get_weights()


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", config.SCHEDULES)
@pytest.mark.parametrize("name", config.OPTIMIZERS)
def test_several_batches_in_one_execution_are_the_same_training(name, schedule):
    pace = paces(schedule, 0.05, 1, BATCHES)
    assert_same(trained(optimizer(name, pace)), trained(optimizer(name, pace), steps=4))


def test_rates_are_those_of_the_schedule():
    pace = Paces(np.linspace(0.01, 0.2, BATCHES))
    theirs = keras.optimizers.SGD(0.0, momentum=0.9, nesterov=True)
    assert_same(
        trained(optimizer("sgd", pace)),
        trained(theirs, before=lambda batch: setattr(theirs, "learning_rate", pace.rates[batch])),
    )


def test_the_momentum_of_sgd_follows_the_cycle():
    """Against the rule of I. Sutskever et al. written out, batch by batch."""
    pace = Paces(np.full(BATCHES, 0.1), np.linspace(0.95, 0.5, BATCHES))
    model = network()
    weights = [value.astype(np.float64) for value in model.get_weights()]
    velocities = [np.zeros_like(value) for value in weights]
    for batch in range(BATCHES):
        x, y = X[batch * 4 : batch * 4 + 4], Y[batch * 4 : batch * 4 + 4]
        logits = x @ weights[0] + weights[1]
        error = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[y]
        for place, gradient in enumerate((x.T @ error / 4, error.mean(0))):
            velocities[place] = pace.momenta[batch] * velocities[place] - 0.1 * gradient
            weights[place] += pace.momenta[batch] * velocities[place] - 0.1 * gradient
    assert_same(trained(optimizer("sgd", pace)), weights)


def test_the_momentum_of_adam_follows_the_cycle():
    """Against Keras's own Adam whose beta_1 is a variable that is set before each batch."""
    pace = Paces(np.full(BATCHES, 0.05), np.linspace(0.95, 0.5, BATCHES))
    theirs = keras.optimizers.Adam(0.05, beta_2=BETA_2, epsilon=EPSILON)
    theirs.beta_1 = momentum = keras.Variable(0.0, trainable=False)
    expected = trained(theirs, before=lambda batch: momentum.assign(pace.momenta[batch]))
    assert_same(trained(optimizer("adam", pace)), expected)
    still = trained(optimizer("adam", pace._replace(momenta=np.full(BATCHES, 0.95))))
    assert not np.allclose(still[0], expected[0], atol=1e-4)


def test_past_its_end_the_table_keeps_its_last_value():
    short, full = Paces(np.array([0.2, 0.1])), Paces(np.array([0.2] + [0.1] * 9))
    assert_same(trained(optimizer("sgd", short)), trained(optimizer("sgd", full)))


def test_the_slowdown_is_a_variable_of_the_optimizer_and_slows_it():
    pace = Paces(np.full(BATCHES, 0.1))
    halved = optimizer("sgd", pace)
    halved.slowdown.assign(0.5)
    assert any(variable is halved.slowdown for variable in halved.variables)
    assert_same(trained(halved), trained(optimizer("sgd", Paces(pace.rates / 2))))
