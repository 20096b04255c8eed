import keras
import numpy as np
import pytest
from keras import layers

from artifacts.errors import BadModel
from artifacts.foreign import SCALINGS, Foreign, Layout
from training.importing.adapted import opened, wrap

INPUTS = {Layout.NHWC: (6, 5, 3), Layout.NCHW: (3, 6, 5), Layout.NHW: (6, 5), Layout.FLAT: (90,)}


def network(shape, units=4, activation="softmax", dtype="float32"):
    keras.utils.set_random_seed(0)
    picture = keras.Input(shape, dtype=dtype)
    x = layers.Dense(8, activation="relu")(layers.Flatten()(layers.Rescaling(1.0)(picture)))
    return keras.Model(picture, layers.Dense(units, activation=activation)(x))


def foreign(layout=Layout.NHWC, scaling="unit", classes=4, **fields):
    shape = (6, 5, 1) if layout is Layout.NHW else (6, 5, 3)
    fitting = {"dtype": "float32", "logits": False, "labels": [str(number) for number in range(classes)]}
    return Foreign(shape=shape, layout=layout, scaling=scaling, **{**fitting, **fields})


def both(model, fitted):
    """What the wrapped model says of random pictures, and the bare one that is fed by hand."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, *fitted.shape), np.uint8)
    return wrap(model, fitted).predict_on_batch(pixels), fitted.fed_by_hand(opened(model))(pixels)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_inside_gives_the_same_bits_as_scaling_by_hand(scaling):
    wrapped, by_hand = both(network((6, 5, 3)), foreign(scaling=scaling))
    np.testing.assert_array_equal(wrapped, by_hand)
    assert wrapped.dtype == np.float32


@pytest.mark.parametrize("layout", INPUTS)
def test_every_layout_gives_the_same_bits_as_by_hand(layout):
    wrapped, by_hand = both(network(INPUTS[layout]), foreign(layout=layout))
    np.testing.assert_array_equal(wrapped, by_hand)


@pytest.mark.parametrize(("units", "activation"), [(4, "linear"), (1, "sigmoid"), (1, "linear")])
def test_logits_and_single_units_become_probabilities(units, activation):
    fitted = foreign(classes=max(units, 2), logits=activation == "linear")
    wrapped, by_hand = both(network((6, 5, 3), units, activation), fitted)
    np.testing.assert_allclose(wrapped, by_hand, atol=1e-6)
    np.testing.assert_allclose(wrapped.sum(1), 1, atol=1e-6)
    assert wrapped.shape == (9, len(fitted.labels))


def test_a_wrapped_model_has_the_two_ends_that_every_model_has_here():
    wrapped = wrap(network((6, 5, 3)), foreign())
    (picture,) = wrapped.inputs
    assert (picture.name, picture.dtype, picture.shape) == ("image", "uint8", (None, 6, 5, 3))
    assert wrapped.output_shape == (None, 4)


def test_a_model_of_our_own_is_left_as_it_is():
    picture = keras.Input((6, 5, 3), dtype="uint8", name="image")
    ours = keras.Model(picture, layers.Dense(4, activation="softmax")(layers.Flatten()(layers.Rescaling(0.1)(picture))))
    assert wrap(ours, foreign(dtype="uint8", scaling="none")) is ours
    assert wrap(ours, foreign(dtype="uint8", scaling="none", logits=True)) is not ours


@pytest.mark.parametrize(
    ("layer", "itself"),
    [
        (layers.Rescaling(1 / 255), True),
        (layers.Normalization(mean=0.5, variance=2.0, axis=None), True),
        (layers.Activation("relu"), False),
    ],
)
def test_a_model_that_scales_its_pictures_is_recognised(layer, itself):
    first = keras.Sequential([keras.Input((6, 5, 3)), layer])
    model = keras.Sequential([keras.Input((6, 5, 3)), first, layers.Flatten(), layers.Dense(4)])
    assert opened(model).scales_itself is itself


def test_a_rescaling_behind_the_first_weights_scales_no_pictures():
    model = keras.Sequential([keras.Input((6, 5, 3)), layers.Dense(2), layers.Rescaling(2.0), layers.Dense(4)])
    assert not opened(model).scales_itself
    assert opened(network((6, 5, 3), dtype="uint8")).scales_itself


def test_what_does_not_take_one_picture_and_give_one_answer_is_refused():
    one, other = keras.Input((6, 5, 3)), keras.Input((6, 5, 3))
    with pytest.raises(BadModel, match="has 2 inputs"):
        opened(keras.Model([one, other], layers.Add()([one, other])))
    with pytest.raises(BadModel, match="takes int32 values"):
        opened(network((6, 5, 3), dtype="int32"))
    twice = keras.Model(one, [layers.Dense(2)(one), layers.Dense(3)(one)])
    with pytest.raises(BadModel, match="has 2 outputs"):
        opened(twice).run(np.zeros((1, 6, 5, 3), np.float32))
    with pytest.raises(BadModel, match=r"does not take pictures of shape \(2, 2, 3\)"):
        opened(network((6, 5, 3))).run(np.zeros((1, 2, 2, 3), np.float32))
