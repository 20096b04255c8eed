import keras
import numpy as np
import pytest

from artifacts.errors import TintypeError
from training import config, models, presets
from training.evaluate import evaluate
from training.fit import Examples, fit
from training.schedules import MOMENTUM_HIGH, schedule

SHAPE = (16, 16, 1)


def examples(count, seed):
    """Two kinds of noise, dark and light, with much overlap."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, count)
    noise = rng.normal(110 + 35 * classes, 60)[:, None, None, None] + rng.normal(0, 20, (count, *SHAPE))
    return Examples(noise.clip(0, 255).astype(np.uint8), classes)


TRAIN, VALIDATION = examples(96, 0), examples(48, 1)


def trained(preset="cnn-stride2-bn", **overrides):
    read = presets.read(preset)
    recipe = config.resolve(read, {"epochs": "3", "batch_size": "32", **overrides})
    model = models.build(read.model, SHAPE, 2, l2=recipe.l2, seed=recipe.seed)
    return model, fit(model, TRAIN, VALIDATION, recipe), recipe


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (trained(augment="shift-flip", seed=seed)[0].get_weights() for seed in ("1", "1", "2"))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_best_weights_are_kept():
    model, told, _ = trained("mlp-32", epochs="8", learning_rate="0.03")
    best = max(told.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert told.best_epoch == best["epoch"]
    kept = evaluate(model, VALIDATION, ["dark", "light"]).metrics
    assert kept["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert kept["loss"] == pytest.approx(best["val_loss"], rel=1e-3)


def test_the_history_has_a_row_an_epoch():
    _, told, _ = trained()
    columns = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"]
    assert [list(row) for row in told.history] == [columns] * 3
    assert [row["epoch"] for row in told.history] == [1, 2, 3]


def test_every_batch_gets_the_rate_of_its_schedule():
    _, told, recipe = trained()
    pace = schedule(recipe, 3)
    assert told.rates == [pace(batch).rate for batch in range(9)]


def test_a_compiled_graph_sees_a_changed_beta_1():
    """What 1cycle relies on: the same gradients, another beta_1 from the second batch on, other weights."""
    ends = []
    for later in (0.5, 0.9):
        model = models.build("mlp-32", SHAPE, 2, l2=0.0, seed=0)
        optimizer = keras.optimizers.Adam(0.01)
        optimizer.beta_1 = momentum = keras.Variable(0.9, trainable=False, name="beta_1")
        model.compile(optimizer, "sparse_categorical_crossentropy")
        model.train_on_batch(TRAIN.pixels[:8], TRAIN.classes[:8])
        momentum.assign(later)
        model.train_on_batch(TRAIN.pixels[8:16], TRAIN.classes[8:16])
        ends.append(model.get_weights()[0])
    assert not np.array_equal(*ends)


@pytest.mark.parametrize("optimizer", config.OPTIMIZERS)
@pytest.mark.parametrize("name", config.SCHEDULES)
def test_every_optimizer_follows_every_schedule(optimizer, name):
    _, told, _ = trained("mlp-32", optimizer=optimizer, schedule=name, epochs="1")
    assert len(told.history) == 1


def test_the_cycle_ends_at_high_momentum():
    _, _, recipe = trained()
    assert schedule(recipe, 3)(8).momentum == pytest.approx(MOMENTUM_HIGH)


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


def test_a_saved_model_holds_the_network_alone(tmp_path):
    model, _, _ = trained(augment="shift-flip")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    assert not [layer for layer in loaded.layers if "Random" in type(layer).__name__]
    np.testing.assert_array_equal(
        loaded.predict(VALIDATION.pixels, verbose=0), model.predict(VALIDATION.pixels, verbose=0)
    )


def test_the_figures_are_those_of_the_predictions():
    model, _, _ = trained()
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
