import h5py
import keras
import numpy as np
import pytest
from keras import applications as keras_applications
from keras.src.legacy.saving import legacy_h5_format

from artifacts.errors import BadData, WrongUse
from tests.networks import answer, noise
from training import models
from training.models import applications, parts

SHAPE = (32, 32, 3)


def build(weights="none", name="resnet50", seed=0):
    return models.build(name, SHAPE, 3, weights=weights, seed=seed)


def backbone(model):
    """The weights of everything but the head."""
    return [weight for layer in model.layers[:-1] for weight in layer.get_weights()]


def equal(some, others):
    return len(some) == len(others) and all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.fixture(scope="module")
def trained():
    """A whole network, with weights that no other test has."""
    model = build(seed=5)
    model.get_layer("conv1_bn").set_weights([np.full(64, value, np.float32) for value in (1.5, 0.5, -2.0, 3.0)])
    return model


@pytest.mark.parametrize(
    ("preprocess", "keras_s_own"),
    [
        (applications.caffe, keras_applications.resnet.preprocess_input),
        (applications.minus_one_to_one, keras_applications.resnet_v2.preprocess_input),
        (applications.torch, keras_applications.densenet.preprocess_input),
    ],
)
def test_preprocessing_is_that_of_keras(preprocess, keras_s_own):
    image = parts.picture(SHAPE)
    model = keras.Model(image, preprocess(image))
    pixels = noise(SHAPE, 4)
    expected = keras_s_own(pixels.astype(np.float32))
    np.testing.assert_allclose(answer(model, pixels), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "preprocess"),
    [
        ("resnet50", applications.caffe),
        ("resnet50v2", applications.minus_one_to_one),
        ("densenet121", applications.torch),
    ],
)
def test_each_family_has_the_preprocessing_that_it_was_trained_with(name, preprocess):
    assert applications.MODELS[name].keywords["preprocess"] is preprocess


def test_grey_is_repeated_to_three_channels():
    grey, colour = (models.build("resnet50", (32, 32, channels), 3, seed=0) for channels in (1, 3))
    assert equal(grey.get_weights(), colour.get_weights())
    pixels = noise((32, 32, 1), 2)
    np.testing.assert_array_equal(answer(grey, pixels), answer(colour, np.repeat(pixels, 3, axis=3)))


def test_weights_of_an_earlier_run_are_taken(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    model = build(str(tmp_path / "model.keras"))
    assert equal(backbone(model), backbone(trained))
    assert not equal(model.get_weights(), trained.get_weights())  # the head is fresh


@pytest.mark.parametrize("file", ["resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "resnet50.weights.h5"])
def test_weights_in_keras_s_own_files_are_taken(trained, file, tmp_path):
    notop = keras_applications.ResNet50(include_top=False, weights=None)
    notop.set_weights(backbone(trained))
    if file.endswith(".weights.h5"):
        notop.save_weights(tmp_path / file)
    else:
        with h5py.File(tmp_path / file, "w") as written:
            legacy_h5_format.save_weights_to_hdf5_group(written, notop)
    assert equal(backbone(build(str(tmp_path / file))), backbone(trained))


def test_a_file_of_another_network_is_refused(tmp_path):
    other = models.build("cnn-small", (18, 18, 1), 3, seed=0)
    other.save(tmp_path / "other.keras")
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "no.h5").write_bytes(b"this is no HDF5")
    right = "right would be resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5, or the model.keras of a run"
    for file in ("other.keras", "other.weights.h5", "no.h5"):
        with pytest.raises(BadData, match=f"{file} does not hold the weights of resnet50; {right}"):
            build(str(tmp_path / file))
    with pytest.raises(
        WrongUse, match=r"there is no file of weights missing\.h5; weights must be imagenet, none, or a"
    ):
        build("missing.h5")


def test_without_a_network_imagenet_says_which_file_to_give(tmp_path, monkeypatch):
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("urllib.request._opener", None)  # else the proxies stay with it, for all tests that follow
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    file = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    sentence = f"could not be downloaded; fetch {file} where there is a network and give it with --set weights={file}"
    with pytest.raises(WrongUse, match=sentence):
        build("imagenet")


@pytest.mark.parametrize("phase", ["head", "top"])
def test_a_phase_trains_its_part_and_no_statistics(phase):
    model = build()
    applications.set_trainable(model, phase)
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", run_eagerly=True)
    before = {variable.path: variable.numpy() for variable in model.variables}
    model.train_on_batch(noise(SHAPE, 4), np.array([0, 1, 2, 0]))
    changed = {path for path, old in before.items() if not np.array_equal(old, model_value(model, path))}
    head = {variable.path for variable in model.layers[-1].variables}
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    top = {variable.path for layer in convolutions if layer.name.startswith("conv5_") for variable in layer.variables}
    assert len(top) == 20
    assert changed == (head if phase == "head" else head | top)


def model_value(model, path):
    return next(variable.numpy() for variable in model.variables if variable.path == path)
