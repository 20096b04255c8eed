"""The training room runs without TensorFlow, on another backend of Keras."""

import numpy as np
import pytest

from tests.on_jax import tintype_json
from tests.real import ROOT


@pytest.fixture(scope="module")
def jax_run(tmp_path_factory):
    """With convolutions, normalisations, augmentation, a cycled momentum, a rate that falls on plateaus."""
    arguments = ("train", "digits", "--preset", "digits", "--epochs", "2", "--set", "plateau=1")
    return tintype_json(tmp_path_factory.mktemp("jax"), *arguments)


def test_jax_trains_the_same_preset(jax_run):
    assert jax_run["metrics"]["test"]["accuracy"] > 0.8


def test_its_model_answers_the_same_under_tensorflow(jax_run):
    import keras

    from artifacts.pictures import Pictures
    from artifacts.run import find

    run = find(ROOT, jax_run["run"])
    assert run.config()["backend"] == "jax"
    held_out = Pictures.load(run.pictures_file)
    model = keras.saving.load_model(run.model_file)
    predicted = model.predict(held_out.decode(*model.input_shape[1:]), verbose=0).argmax(1)
    assert (predicted == held_out.labels).mean() == pytest.approx(jax_run["metrics"]["test"]["accuracy"], abs=0.15)
    assert np.isfinite(model.get_weights()[0]).all()
