from functools import cache, partial

import keras
import numpy as np
import pytest
from keras import applications as keras_applications

from artifacts.errors import WrongUse
from tests import networks
from training import models
from training.models import densenet, resnet
from training.models.regularization import Regularization

# Each family at its smallest: a builder and an input. Deeper ones are more of the same.
SMALL = {
    "mlp": (models.MODELS["mlp-256-128"], (12, 12, 1)),
    "pooled": (models.MODELS["cnn-small"], (18, 18, 1)),
    "pooled, one unit": (models.MODELS["cats-dogs"], (46, 46, 3)),
    "strided": (models.MODELS["cnn-stride2"], (16, 16, 1)),
    "strided, normalised": (models.MODELS["cnn-stride2-bn"], (16, 16, 3)),
    "y-network": (models.MODELS["y-network"], (8, 8, 1)),
    "resnet v1": (partial(resnet.resnet_v1, depth=8), (8, 8, 3)),
    "resnet v2": (partial(resnet.resnet_v2, depth=11), (8, 8, 3)),
    "densenet": (partial(densenet.densenet_bc, depth=10, growth=4), (4, 4, 3)),
    "eeg": (models.MODELS["eeg-cnn"], (8, 8, 1)),
    "crosses and noughts": (models.MODELS["crosses-noughts"], (9, 9, 1)),
    "application": (models.MODELS["resnet50"], (32, 32, 3)),
}


def small(family, regularization=models.AS_DESIGNED):
    build, shape = SMALL[family]
    return build(shape, 2, regularization), networks.noise(shape, 3)


@pytest.fixture(scope="module")
def as_designed():
    """`as_designed(family)`: the same, made once, for tests that leave it as it is."""
    return cache(small)


@pytest.mark.parametrize("design", networks.designs(deep=False), ids=lambda design: design.model)
def test_an_architecture_has_its_parameters_and_its_ends_and_takes_a_training_step(design):
    networks.check(design)


@pytest.mark.parametrize("family", SMALL)
def test_probabilities_add_to_one_and_a_saved_model_gives_the_same(as_designed, family, tmp_path):
    model, pixels = as_designed(family)
    answer = networks.answer(model, pixels)
    assert (answer.dtype, answer.shape) == (np.float32, (3, 2))
    np.testing.assert_allclose(answer.sum(1), 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert loaded.layers[-1].name == "probabilities"
    np.testing.assert_array_equal(networks.answer(loaded, pixels), answer)


@pytest.mark.parametrize("family", SMALL)
def test_probabilities_are_float32_whatever_the_rest_is_computed_in(family):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, pixels = small(family)
    finally:
        keras.config.set_dtype_policy(before)
    assert any(layer.compute_dtype == "bfloat16" for layer in model.layers)
    answer = networks.answer(model, pixels)
    assert (answer.dtype, model.output.dtype) == (np.float32, "float32")
    np.testing.assert_allclose(answer.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("family", [each for each in SMALL if each != "application"])
def test_scaling_is_inside(as_designed, family):
    first = next(layer for layer in as_designed(family)[0].layers if not isinstance(layer, keras.layers.InputLayer))
    assert isinstance(first, keras.layers.Rescaling)
    assert (first.scale, first.offset) == (1 / 255, 0)


@pytest.mark.parametrize(
    "name", ["mlp-32", "cnn-small", "cats-dogs", "cnn-stride2", "y-network", "resnet20v1", "eeg-cnn"]
)
def test_the_seed_governs_the_weights(name):
    one, same, other = (models.build(name, (46, 46, 1), 2, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("family", SMALL)
def test_penalties_are_those_of_the_kernels_below_the_output(family):
    model, _ = small(family, Regularization(l1=1e-3, l2=1e-2, dropout=0.25))
    kernels = [variable.numpy() for variable in model.trainable_variables if variable.name == "kernel"]
    below = kernels if family.startswith("strided") else kernels[:-1]  # there the last convolution is below a softmax
    expected = sum(1e-3 * np.abs(kernel).sum() + 1e-2 * np.square(kernel).sum() for kernel in below)
    assert float(sum(model.losses)) == pytest.approx(float(expected), rel=1e-4)
    assert {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)} == {0.25}


@pytest.mark.parametrize("family", SMALL)
def test_without_a_recipe_s_word_there_is_no_penalty(as_designed, family):
    assert as_designed(family)[0].losses == []


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("mlp-32", []),
        ("mlp-512", [0.2]),
        ("mlp-256-128", [0.4, 0.3]),
        ("cnn", [0.3]),
        ("y-network", [0.4] * 7),
        ("eeg-cnn", [0.5]),
        ("resnet20v1", []),
    ],
)
def test_dropout_is_the_architecture_s_own_unless_the_recipe_says_otherwise(name, rates):
    def dropped(**options):
        layers = models.build(name, (28, 28, 1), 2, seed=0, **options).layers
        return [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)]

    assert dropped() == rates
    assert dropped(regularization=Regularization(dropout=0.0)) == []


def test_densenet_drops_after_every_convolution_but_the_first_when_told():
    model = densenet.densenet_bc((8, 8, 3), 10, Regularization(dropout=0.2), depth=16, growth=4)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert (len(convolutions), len(dropouts)) == (15, 14)


@pytest.mark.parametrize("family", ["pooled, one unit", "eeg"])
def test_one_sigmoid_unit_answers_for_both_classes(as_designed, family):
    model, pixels = as_designed(family)
    unit = next(layer for layer in model.layers if getattr(layer, "units", 0) == 1)
    second = networks.answer(keras.Model(model.input, unit.output), pixels)[:, 0]
    np.testing.assert_array_equal(networks.answer(model, pixels), np.stack([1 - second, second], axis=1))
    build, shape = SMALL[family]
    with pytest.raises(WrongUse) as refused:
        build(shape, 3, models.AS_DESIGNED)
    sentence = "this model ends in one sigmoid unit, which tells 2 classes apart; received 3 classes"
    assert str(refused.value) == sentence


def test_the_y_network_feeds_its_one_picture_to_both_branches():
    model, _ = small("y-network")
    (joint,) = [layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
    branches = [keras.Model(model.input, tensor) for tensor in joint.input]
    dilations = [
        {layer.dilation_rate for layer in branch.layers if isinstance(layer, keras.layers.Conv2D)}
        for branch in branches
    ]
    assert len(model.inputs) == 1
    assert dilations == [{(1, 1)}, {(2, 2)}]


@pytest.mark.parametrize(
    ("build", "depth", "sentence"),
    [
        (resnet.resnet_v1, 21, "the depth of a ResNet v1 must be 6n+2, such as 20 or 26; received 21"),
        (resnet.resnet_v1, 55, "the depth of a ResNet v1 must be 6n+2, such as 50 or 56; received 55"),
        (resnet.resnet_v1, 2, "the depth of a ResNet v1 must be 6n+2, such as 8 or 14; received 2"),
        (resnet.resnet_v2, 57, "the depth of a ResNet v2 must be 9n+2, such as 56 or 65; received 57"),
        (resnet.resnet_v2, -7, "the depth of a ResNet v2 must be 9n+2, such as 11 or 20; received -7"),
        (
            densenet.densenet_bc,
            99,
            "the depth of a DenseNet of three blocks must be 6n+4, such as 94 or 100; received 99",
        ),
        (densenet.densenet_bc, 4, "the depth of a DenseNet of three blocks must be 6n+4, such as 10 or 16; received 4"),
    ],
)
def test_a_depth_that_a_family_does_not_have_is_refused(build, depth, sentence):
    growth = {"growth": 12} if build is densenet.densenet_bc else {}
    with pytest.raises(WrongUse) as refused:
        build((32, 32, 3), 10, models.AS_DESIGNED, depth=depth, **growth)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2"])
def test_an_application_counts_as_many_parameters_as_keras_s_own(name):
    whole = getattr(keras_applications, name)(weights=None)
    (design,) = [each for each in networks.designs(deep=False) if each.model == name.lower()]
    assert design.parameters == whole.count_params()


def test_weights_are_for_applications_only():
    with pytest.raises(WrongUse, match=r"weights can be given to resnet50, .*; received 'imagenet' for cnn"):
        models.build("cnn", (28, 28, 1), 10, weights="imagenet", seed=0)
