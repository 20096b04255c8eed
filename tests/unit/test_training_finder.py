import numpy as np
import pytest

from training import config, models, presets
from training.learning import finder
from training.learning.feed import Examples

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 2, 256)
PIXELS = RNG.normal(90 + 70 * CLASSES[:, None, None, None], 30, (256, 8, 8, 1)).clip(0, 255).astype(np.uint8)
EXAMPLES = Examples(PIXELS, CLASSES, np.arange(256))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_suggested_rate_trains_and_a_hundredfold_does_not_train_better(optimizer):
    recipe = config.resolve(presets.read("mlp-32"), {"optimizer": optimizer, "batch_size": "32"})
    found = finder.find(models.build("mlp-32", (8, 8, 1), 2, seed=0), EXAMPLES, recipe)
    assert len(found.rates) == len(found.losses) <= finder.BATCHES
    assert found.rates == sorted(found.rates)
    assert min(found.losses) < found.losses[0]
    assert 1e-5 < found.suggestion < 1


def test_it_stops_when_the_loss_breaks_out():
    recipe = config.resolve(presets.read("mlp-32"), {"optimizer": "sgd", "batch_size": "32"})
    found = finder.find(models.build("mlp-32", (8, 8, 1), 2, seed=0), EXAMPLES, recipe)
    assert max(found.losses) <= finder.BROKEN_OUT * max(1.0, found.losses[0])


def test_the_suggestion_is_a_tenth_of_the_rate_at_the_lowest_loss():
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    assert finder.suggestion(rates, [0.9, 0.5, 0.2, 0.7]) == pytest.approx(1e-3)


def test_what_was_found_is_kept_with_the_run(tmp_path):
    assert finder.read(tmp_path) is None
    found = finder.Finder([0.1, 0.2], [1.0, 0.5], 0.02)
    finder.write(tmp_path, found)
    assert finder.read(tmp_path) == found
