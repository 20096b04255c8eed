import numpy as np
import pytest

from training.learning.schedules import FIRST, LAST, MOMENTUM_HIGH, MOMENTUM_LOW, paces


def test_one_cycle_rises_to_the_maximum_once_and_falls_to_almost_nothing():
    rates = paces("1cycle", 0.1, 5, 10).rates
    peak = rates.argmax()
    assert len(rates) == 50
    assert rates[peak] == pytest.approx(0.1)
    assert (rates == rates[peak]).sum() == 1
    assert peak == round(49 * 0.25)
    assert rates[0] == pytest.approx(0.1 * FIRST)
    assert rates[-1] == pytest.approx(0.1 * LAST)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()


def test_one_cycle_moves_momentum_the_other_way():
    cycle = paces("1cycle", 0.1, 5, 10)
    assert cycle.momenta.argmin() == cycle.rates.argmax()
    assert cycle.momenta.min() == pytest.approx(MOMENTUM_LOW)
    assert cycle.momenta[[0, -1]] == pytest.approx(MOMENTUM_HIGH)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_one_cycle_of_very_few_batches_is_finite(batches):
    cycle = paces("1cycle", 0.1, 1, batches)
    assert len(cycle.rates) == len(cycle.momenta) == batches
    assert ((cycle.rates > 0) & (cycle.rates <= 0.1)).all()


def test_steps_come_after_the_published_epochs():
    rates = paces("step", 1e-3, 200, 10).rates[::10]
    assert len(rates) == 200
    changes = {epoch: rate for epoch, rate in enumerate(rates) if epoch == 0 or rate != rates[epoch - 1]}
    assert changes == {0: 1e-3, 80: pytest.approx(1e-4), 120: pytest.approx(1e-5), 160: pytest.approx(1e-6), 180: 5e-7}


def test_steps_of_a_shorter_training_come_after_the_same_shares():
    rates = paces("step", 1.0, 10, 1).rates
    assert rates.tolist() == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.0005]


def test_a_constant_rate_stays():
    assert paces("constant", 0.001, 2, 3).rates.tolist() == [0.001] * 6
    assert paces("constant", 0.001, 2, 3).momenta is None
