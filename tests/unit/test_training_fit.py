import dataclasses
import threading
from functools import cache

import keras
import numpy as np
import pytest

from artifacts.errors import BadRun, TintypeError
from artifacts.run import Run
from training import config, models, presets
from training.evaluate import evaluate
from training.learning import checkpoint
from training.learning.feed import Examples
from training.learning.fit import fit
from training.learning.schedules import paces
from training.models.regularization import Regularization

SHAPE = (16, 16, 1)


def examples(count, seed):
    """Two kinds of noise, dark and light, with much overlap."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, count)
    noise = rng.normal(110 + 35 * classes, 60)[:, None, None, None] + rng.normal(0, 20, (count, *SHAPE))
    return Examples(noise.clip(0, 255).astype(np.uint8), classes, np.arange(count))


TRAIN, VALIDATION = examples(96, 0), examples(48, 1)


def prepared(preset="cnn-stride2-bn", **overrides):
    read = presets.read(preset)
    recipe = config.resolve(read, {"epochs": "3", "batch_size": "32", **overrides})
    regularization = Regularization(recipe.l1, recipe.l2, recipe.dropout)
    return models.build(read.model, SHAPE, 2, regularization=regularization, seed=recipe.seed), recipe


def trained(preset="cnn-stride2-bn", **overrides):
    model, recipe = prepared(preset, **overrides)
    return model, fit(model, TRAIN, VALIDATION, recipe), recipe


@pytest.fixture(scope="module")
def shifted():
    """(model, what its training told, recipe): three epochs of shifted and flipped pictures."""
    return trained(augment="shift-flip", seed="1")


def test_the_same_seed_gives_the_same_weights(shifted):
    same, other = (trained(augment="shift-flip", seed=seed)[0].get_weights() for seed in ("1", "2"))
    one = shifted[0].get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_best_weights_are_kept():
    model, told, _ = trained("mlp-32", epochs="8", learning_rate="0.03")
    best = max(told.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert told.best_epoch == best["epoch"]
    kept = evaluate(model, VALIDATION, ["dark", "light"]).metrics
    assert kept["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert kept["loss"] == pytest.approx(best["val_loss"], rel=1e-3)


def test_the_history_has_a_row_an_epoch(shifted):
    _, told, _ = shifted
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"]
    assert [list(row) for row in told.history] == [columns] * 3
    assert [row["epoch"] for row in told.history] == [1, 2, 3]


def test_every_batch_gets_the_rate_of_its_schedule(shifted):
    _, told, recipe = shifted
    assert told.rates == paces(recipe.schedule, recipe.learning_rate, 3, 3).rates.tolist()
    assert len(told.momenta) == 9


DIVERGING = {"optimizer": "sgd", "learning_rate": "10", "l2": "1"}


def test_a_training_that_diverges_at_once_says_so():
    with pytest.raises(TintypeError, match=r"the loss became no number; lower learning_rate \(it is 10\.0\)"):
        trained("mlp-32", **DIVERGING, batch_size="1")


def test_a_training_that_diverges_later_stops_and_keeps_the_best(capsys):
    model, told, _ = trained("mlp-32", **DIVERGING, epochs="40")
    assert len(told.history) < 40
    assert told.best_epoch < len(told.history)
    assert np.isfinite(model.get_weights()[0]).all()
    assert "the loss is no number: training stops" in capsys.readouterr().err


def test_a_saved_model_holds_the_network_alone(shifted, tmp_path):
    model, _, _ = shifted
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    assert not [layer for layer in loaded.layers if "Random" in type(layer).__name__]
    np.testing.assert_array_equal(
        loaded.predict(VALIDATION.pixels, verbose=0), model.predict(VALIDATION.pixels, verbose=0)
    )


def test_the_figures_are_those_of_the_predictions(shifted):
    model, _, _ = shifted
    judged = evaluate(model, VALIDATION, ["dark", "light"])
    metrics, predicted = judged.metrics, judged.probabilities.argmax(1)
    assert metrics["accuracy"] == pytest.approx((predicted == VALIDATION.classes).mean(), abs=1e-6)
    matrix = np.array(metrics["confusion_matrix"])
    for number, label in enumerate(("dark", "light")):
        right = matrix[number, number]
        row = metrics["per_class"][label]
        assert row["support"] == matrix[number].sum() == (VALIDATION.classes == number).sum()
        assert row["recall"] == pytest.approx(right / matrix[number].sum(), abs=1e-6)
        assert row["precision"] == pytest.approx(right / max(1, matrix[:, number].sum()), abs=1e-6)
    given = judged.probabilities[np.arange(48), VALIDATION.classes]
    assert metrics["loss"] == pytest.approx(-np.log(given).mean(), abs=1e-4)


def test_early_stopping_ends_the_training_and_says_why():
    _, told, _ = trained("mlp-32", epochs="60", early_stopping="3")
    assert len(told.history) == told.best_epoch + 3 < 60
    assert told.stopped == f"no epoch was better than epoch {told.best_epoch} for 3 epochs"
    assert len(told.rates) == 3 * len(told.history)


def test_a_plateau_lowers_the_rate():
    _, told, _ = trained("mlp-32", epochs="40", plateau="2", learning_rate="0.05")
    rates = [row["learning_rate"] for row in told.history]
    assert rates[0] == 0.05
    assert min(rates) < 0.05 * 0.4
    assert rates == sorted(rates, reverse=True)


@cache
def of_few_light_ones(preset, **overrides):
    """The first weights after two epochs of many dark pictures and few light ones."""
    lopsided = dataclasses.replace(TRAIN, rows=np.concatenate([np.flatnonzero(TRAIN.classes == 0), [3, 5, 8, 9]]))
    model, recipe = prepared(preset, epochs="2", **overrides)
    fit(model, lopsided, VALIDATION, recipe)
    return model.get_weights()[0]


@pytest.mark.parametrize(
    "overrides", [{"label_smoothing": "0.2"}, {"class_weights": "balanced"}, {"l1": "0.001"}, {"dropout": "0.5"}]
)
def test_what_the_recipe_asks_against_overfitting_changes_the_training(overrides):
    preset = "mlp-512" if "dropout" in overrides else "mlp-32"
    with_it = of_few_light_ones(preset, **overrides)
    assert not np.allclose(of_few_light_ones(preset), with_it)


def test_balanced_weights_make_a_rare_class_as_likely_as_a_common_one():
    """The pictures are all alike: a model can learn only how often a class comes, and its best loss is that entropy."""
    classes = np.repeat([0, 1], [45, 5])
    alike = Examples(np.full((50, *SHAPE), 128, np.uint8), classes, np.arange(50))
    losses = []
    for weights in ("none", "balanced"):
        model, recipe = prepared("mlp-32", epochs="30", batch_size="50", learning_rate="0.02", class_weights=weights)
        losses.append(min(row["loss"] for row in fit(model, alike, alike, recipe).history))
    assert losses == pytest.approx([-0.9 * np.log(0.9) - 0.1 * np.log(0.1), np.log(2)], abs=0.1)


def test_mixed_precision_trains_in_half_and_keeps_weights_whole():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, recipe = prepared()
    finally:
        keras.config.set_dtype_policy(before)
    told = fit(model, TRAIN, VALIDATION, recipe)
    assert len(told.history) == 3
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert any(layer.compute_dtype == "bfloat16" for layer in model.layers)


class Killed(Exception):
    """Stands for the end of a process."""


def test_a_resume_ends_with_the_weights_of_an_unbroken_training(tmp_path, monkeypatch):
    """Dropout, augmentation, BN, a cycled momentum: all that has a state of its own."""
    changed = {"epochs": "4", "augment": "shift-flip", "plateau": "1", "label_smoothing": "0.1"}
    monkeypatch.setattr(checkpoint, "PATIENCE", 0)
    whole, recipe = prepared(**changed)
    expected = fit(whole, TRAIN, VALIDATION, recipe)
    broken, _ = prepared(**changed)
    run = Run(tmp_path)
    write = checkpoint.write

    def write_and_die(path, state, model):
        write(path, state, model)
        if state.epoch == 2:
            raise Killed

    monkeypatch.setattr(checkpoint, "write", write_and_die)
    with pytest.raises(Killed):
        fit(broken, TRAIN, VALIDATION, recipe, run=run)
    keras.utils.set_random_seed(99)
    resumed, _ = prepared(**changed)
    told = fit(resumed, TRAIN, VALIDATION, recipe, run=run)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    drop = {"seconds"}
    for one, other in zip(expected.history, told.history, strict=True):
        assert {k: v for k, v in one.items() if k not in drop} == {k: v for k, v in other.items() if k not in drop}
    unnamed = [dataclasses.replace(each.activations, layers=[]) for each in (told, expected)]  # names count on
    assert unnamed[0] == unnamed[1]
    assert told.best_epoch == expected.best_epoch


def test_a_training_that_breaks_off_closes_its_events(tmp_path, monkeypatch):
    def die(*_):
        raise Killed

    monkeypatch.setattr(checkpoint, "write", die)
    model, recipe = prepared("mlp-32")
    before = threading.enumerate()
    with pytest.raises(Killed):
        fit(model, TRAIN, VALIDATION, recipe, run=Run(tmp_path))
    assert not {type(each).__name__ for each in set(threading.enumerate()) - set(before)} & {"_EventLoggerThread"}
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and then nothing"])
def test_a_damaged_checkpoint_is_said_to_be_one(tmp_path, damage):
    model, recipe = prepared("mlp-32")
    Run(tmp_path).checkpoint_file.write_bytes(damage)
    with pytest.raises(BadRun, match="is not a checkpoint"):
        fit(model, TRAIN, VALIDATION, recipe, run=Run(tmp_path))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    model, recipe = prepared("mlp-32", epochs="1")
    fit(model, TRAIN, VALIDATION, recipe, run=Run(tmp_path))
    other, recipe = prepared("cnn-stride2-bn", epochs="2")
    with pytest.raises(BadRun, match="of another network"):
        fit(other, TRAIN, VALIDATION, recipe, run=Run(tmp_path))


def test_events_and_history_are_written_while_it_trains(tmp_path):
    model, recipe = prepared("mlp-32", epochs="2")
    fit(model, TRAIN, VALIDATION, recipe, run=Run(tmp_path))
    assert (tmp_path / "history.csv").read_text().count("\n") == 3
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"train/loss", b"train/accuracy", b"validation/loss", b"validation/accuracy", b"learning_rate"):
        assert content.count(tag) == 2
