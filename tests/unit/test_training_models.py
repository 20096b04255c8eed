import keras
import numpy as np
import pytest

from artifacts.errors import WrongUse
from training import models
from training.models import resnet

SHAPE = (28, 28, 1)


@pytest.mark.parametrize("name", models.MODELS)
def test_pixels_go_in_as_uint8_and_probabilities_come_out(name):
    model = models.build(name, SHAPE, 7, l2=1e-4, seed=0)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    answer = model.predict(pixels, verbose=0)
    assert model.inputs[0].dtype == "uint8"
    assert isinstance(model.layers[1], keras.layers.Rescaling)
    assert model.layers[1].scale == 1 / 255
    assert answer.dtype == np.float32
    assert answer.shape == (3, 7)
    np.testing.assert_allclose(answer.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", models.MODELS)
def test_the_seed_governs_the_weights(name):
    one, same, other = (models.build(name, SHAPE, 3, l2=0.0, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", models.MODELS)
def test_l2_is_added_to_the_loss(name):
    assert models.build(name, SHAPE, 3, l2=0.0, seed=0).losses in ([], [0.0]) or name == "resnet20v1"
    assert float(sum(models.build(name, SHAPE, 3, l2=1e-2, seed=0).losses)) > 0


@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 274_442), (32, 470_218), (44, 665_994), (56, 861_770), (110, 1_742_762)]
)
def test_resnets_of_any_valid_depth_have_the_published_parameters(depth, parameters):
    assert resnet.resnet_v1((32, 32, 3), 10, 1e-4, depth=depth).count_params() == parameters


@pytest.mark.parametrize(("depth", "near"), [(21, "20 or 26"), (55, "50 or 56"), (2, "8 or 14")])
def test_a_depth_that_no_resnet_has_is_refused(depth, near):
    with pytest.raises(WrongUse, match=rf"the depth of a ResNet must be 6n\+2, such as {near}; received {depth}"):
        resnet.resnet_v1((32, 32, 3), 10, depth=depth)
