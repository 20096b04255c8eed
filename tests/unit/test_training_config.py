import dataclasses
import re

import pytest

from artifacts.errors import WrongUse
from training import config, presets, readers

CNN = presets.read("cnn")


def refuse(overrides, sentence, preset=CNN):
    with pytest.raises(WrongUse, match=re.escape(sentence)):
        config.resolve(preset, overrides)


def test_every_field_of_a_recipe_has_a_reader():
    assert [field.name for field in dataclasses.fields(config.Recipe)] == list(config.READERS)


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_resolves(name):
    preset = presets.read(name)
    recipe = config.resolve(preset, {})
    assert recipe.input is None
    assert min(readers.shape(preset.input)[:2]) >= preset.smallest


def test_overrides_are_read_by_the_type_of_their_field():
    recipe = config.resolve(
        CNN, {"epochs": "3", "learning_rate": "2e-3", "schedule": "1cycle", "input": "20x24x3", "test_share": "0.25"}
    )
    assert (recipe.epochs, recipe.learning_rate, recipe.schedule) == (3, 0.002, "1cycle")
    assert (recipe.input, recipe.test_share, recipe.validation_share) == ((20, 24, 3), 0.25, 0.05)
    assert recipe.batch_size == 128


def test_an_unknown_key_names_the_nearest():
    refuse({"epoch": "3"}, "epoch cannot be set; did you mean epochs?")
    refuse({"learningrate": "3"}, "learningrate cannot be set; did you mean learning_rate?")


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("epochs", "0", "epochs must be a whole number of at least 1; received '0'"),
        ("epochs", "ten", "epochs must be a whole number of at least 1; received 'ten'"),
        ("batch_size", "1.5", "batch_size must be a whole number of at least 1; received '1.5'"),
        ("seed", "-1", "seed must be a whole number from 0 to 4294967295; received '-1'"),
        ("seed", "4294967296", "seed must be a whole number from 0 to 4294967295; received '4294967296'"),
        ("learning_rate", "0", "learning_rate must be a number above 0 and up to 10; received '0'"),
        ("learning_rate", "nan", "learning_rate must be a number above 0 and up to 10; received 'nan'"),
        ("l1", "2", "l1 must be a number from 0 to 1; received '2'"),
        ("dropout", "1", "dropout must be a number from 0 to below 1; received '1'"),
        ("label_smoothing", "-0.1", "label_smoothing must be a number from 0 to below 1; received '-0.1'"),
        ("class_weights", "even", "class_weights must be none or balanced; received 'even'"),
        ("precision", "half", "precision must be float32 or mixed_float16 or mixed_bfloat16 or auto; received 'half'"),
        ("folds", "1", "folds must be 0 (no cross-validation), or a whole number of at least 2; received '1'"),
        ("weights", "best.pt", "weights must be imagenet, none, or a file of weights that ends in .weights.h5"),
        ("labels", "3", "labels must be two or more different labels, separated by commas, such as 3,7; received '3'"),
        ("labels", "3,3", "labels must be two or more different labels"),
        ("l2", "-1", "l2 must be a number from 0 to 1; received '-1'"),
        ("optimizer", "adm", "optimizer must be adam or rmsprop or sgd; received 'adm'"),
        ("schedule", "cosine", "schedule must be constant or 1cycle or step; received 'cosine'"),
        ("augment", "mixup", "augment must be none or shift or shift-flip or photo; received 'mixup'"),
        ("validation_share", "0.9", "validation_share must be a number above 0 and up to 0.45; received '0.9'"),
        ("input", "28", "input must be height x width x channels such as 32x32x3"),
        ("input", "28x28x2", "input must be height x width x channels such as 32x32x3"),
        ("input", "9999x28x1", "sides up to 1024"),
        ("input", "17x28x1", "input must be at least 18x18 for the preset cnn; received '17x28x1'"),
    ],
)
def test_a_bad_value_is_refused_with_what_would_be_right(key, text, sentence):
    refuse({key: text}, sentence)


def test_all_violations_are_told_at_once():
    with pytest.raises(WrongUse) as caught:
        config.resolve(CNN, {"epochs": "x", "batchsize": "1", "input": "8x8x1"})
    told = str(caught.value)
    assert "epochs must be" in told
    assert "did you mean batch_size?" in told
    assert "at least 18x18" in told


def test_the_input_is_the_data_sets_own_unless_it_is_too_small():
    recipe = config.resolve(CNN, {})
    assert config.at_input(recipe, CNN, (28, 28, 1)).input == (28, 28, 1)
    assert config.at_input(recipe, CNN, (8, 8, 1)).input == (28, 28, 1)
    assert config.at_input(recipe, CNN, None).input == (28, 28, 1)
    assert config.at_input(config.resolve(CNN, {"input": "20x20x3"}), CNN, (28, 28, 1)).input == (20, 20, 3)


def test_what_is_written_has_no_null():
    recipe = config.resolve(CNN, {"input": "28x28x1"})
    assert recipe.to_toml()["input"] == "28x28x1"
    assert None not in recipe.to_toml().values()
