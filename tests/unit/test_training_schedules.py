import numpy as np
import pytest

from training import config, presets
from training.schedules import FIRST, LAST, MOMENTUM_HIGH, MOMENTUM_LOW, schedule

BATCHES = 10


def paces(name, **overrides):
    recipe = config.resolve(presets.read(name), overrides)
    pace = schedule(recipe, BATCHES)
    return [pace(batch) for batch in range(recipe.epochs * BATCHES)]


def test_one_cycle_rises_to_the_maximum_once_and_falls_to_almost_nothing():
    cycle = paces("cnn", schedule="1cycle", learning_rate="0.1", epochs="5")
    rates = np.array([pace.rate for pace in cycle])
    peak = rates.argmax()
    assert rates[peak] == pytest.approx(0.1)
    assert (rates == rates[peak]).sum() == 1
    assert peak == round(49 * 0.25)
    assert rates[0] == pytest.approx(0.1 * FIRST)
    assert rates[-1] == pytest.approx(0.1 * LAST)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()


def test_one_cycle_moves_momentum_the_other_way():
    cycle = paces("cnn", schedule="1cycle", learning_rate="0.1", epochs="5")
    momentum = np.array([pace.momentum for pace in cycle])
    assert momentum.argmin() == np.argmax([pace.rate for pace in cycle])
    assert momentum.min() == pytest.approx(MOMENTUM_LOW)
    assert momentum[[0, -1]] == pytest.approx(MOMENTUM_HIGH)


def test_one_cycle_of_very_few_batches_is_finite():
    recipe = config.resolve(presets.read("cnn"), {"schedule": "1cycle", "epochs": "1"})
    for batches in (1, 2, 3):
        pace = schedule(recipe, batches)
        assert all(0 < pace(batch).rate <= recipe.learning_rate for batch in range(batches))


def test_steps_come_after_the_published_epochs():
    rates = [pace.rate for pace in paces("resnet20v1")][::BATCHES]
    assert len(rates) == 200
    changes = {epoch: rate for epoch, rate in enumerate(rates) if epoch == 0 or rate != rates[epoch - 1]}
    assert changes == {0: 1e-3, 80: pytest.approx(1e-4), 120: pytest.approx(1e-5), 160: pytest.approx(1e-6), 180: 5e-7}


def test_a_constant_rate_stays():
    assert {pace.rate for pace in paces("mlp-32")} == {0.001}
