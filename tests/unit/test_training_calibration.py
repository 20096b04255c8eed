import numpy as np
import pytest

from training.calibration import BINS, calibration


def answers(*confidences):
    """Two classes, the first one answered with these probabilities."""
    first = np.array(confidences)
    return np.stack([first, 1 - first], axis=1)


def test_by_hand():
    """Four pictures at 0.75, three right; two at 0.9375, one right: ECE = 4/6 · 0 + 2/6 · 0.4375."""
    told = calibration(answers(*[0.75] * 4, *[0.9375] * 2), np.array([0, 0, 0, 1, 0, 1]))
    assert told["bins"] == [
        {"lower": 0.7, "upper": 0.8, "count": 4, "confidence": 0.75, "accuracy": 0.75},
        {"lower": 0.9, "upper": 1.0, "count": 2, "confidence": 0.9375, "accuracy": 0.5},
    ]
    assert told["ece"] == pytest.approx(0.4375 / 3, abs=1e-6)
    assert told["confidence"] == pytest.approx((4 * 0.75 + 2 * 0.9375) / 6, abs=1e-6)


def test_who_is_always_sure_and_right_is_calibrated():
    told = calibration(np.eye(3, dtype=np.float32), np.arange(3))
    assert told == {
        "ece": 0.0,
        "confidence": 1.0,
        "bins": [{"lower": 0.9, "upper": 1.0, "count": 3, "confidence": 1.0, "accuracy": 1.0}],
    }


def test_who_is_always_sure_and_wrong_is_not():
    assert calibration(np.eye(2), np.array([1, 0]))["ece"] == 1.0


def test_a_limit_belongs_to_the_bin_below():
    """0.5 is exact in binary."""
    (one,) = calibration(answers(0.5), np.array([0]))["bins"]
    assert (one["lower"], one["upper"]) == (0.4, 0.5)


def test_knowing_nothing_of_many_classes_falls_into_the_first_bin():
    told = calibration(np.full((5, 100), 0.01, dtype=np.float32), np.zeros(5, dtype=np.int64))
    assert [(each["lower"], each["count"]) for each in told["bins"]] == [(0.0, 5)]


def test_the_bins_hold_every_picture_once():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 500)
    told = calibration(probabilities, rng.integers(0, 4, 500))
    assert sum(each["count"] for each in told["bins"]) == 500
    assert all(each["lower"] <= each["confidence"] <= each["upper"] for each in told["bins"])
    assert len(told["bins"]) <= BINS
