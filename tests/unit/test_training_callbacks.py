import math

import pytest

from training.learning.activations import Activations
from training.learning.callbacks import exhausted, plateaus, table
from training.learning.state import State


def state(*accuracies):
    rows = [{"epoch": place + 1, "val_accuracy": value, "val_loss": 1.0} for place, value in enumerate(accuracies)]
    best = max(range(len(rows)), key=lambda place: rows[place]["val_accuracy"], default=-1) + 1
    return State(Activations([]), rows, best)


@pytest.mark.parametrize(
    ("losses", "falls"),
    [([], 0), ([3, 2, 1], 0), ([1, 2, 2], 1), ([1, 2, 2, 2], 1), ([1, 2, 2, 2, 2], 2), ([1, 2, 0.5, 2, 2], 1)],
)
def test_the_rate_falls_after_each_wait_in_vain(losses, falls):
    assert plateaus(losses, 2) == falls


def test_training_stops_after_its_patience_and_says_why():
    assert exhausted(state(0.5, 0.9, 0.8), 2) == ""
    assert exhausted(state(0.5, 0.9, 0.8, 0.7), 2) == "no epoch was better than epoch 2 for 2 epochs"
    assert exhausted(state(0.9, *[0.1] * 50), 0) == ""


def test_of_equal_accuracies_the_lower_loss_is_better():
    told = state(0.5, 0.9)
    assert told.best_score() == (0.9, -1.0)
    assert told.best_score() < (0.9, -0.5)
    assert State(Activations([])).best_score() < (0.0, -math.inf)


def test_the_table_has_six_digits():
    assert table([{"epoch": 1, "loss": 0.123456789}]) == "epoch,loss\n1,0.123457\n"
