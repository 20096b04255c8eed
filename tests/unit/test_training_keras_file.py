import json
import logging
import shutil
import warnings
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from artifacts.errors import BadModel, WrongUse
from artifacts.foreign import Kind
from training.importing import keras_file

FORMATS = {"model.keras": Kind.KERAS, "model.h5": Kind.HDF5}


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, 6, 6, 1), np.uint8)


def network(*middle):
    """A small network of our own kind: uint8 pictures in, probabilities out."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((6, 6, 1), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(picture)
    for layer in middle:
        x = layer(x)
    return keras.Model(picture, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


def with_lambda(note=""):
    """A layer that doubles, and writes a file whenever it is called, be it only to learn its output's shape."""
    return layers.Lambda(
        lambda x, note: (note and __import__("pathlib").Path(note).touch(), x * 2)[1],
        name="double",
        arguments={"note": note},
    )


def saved(model, path):
    with keras_file.advice_hidden():
        model.save(path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_is_written_only_when_it_reads_back_the_same_bit_for_bit(tmp_path, pixels, name):
    model = network(layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization())
    before, after = keras_file.write_proven(model, tmp_path / name, pixels)
    np.testing.assert_array_equal(before, model.predict(pixels, verbose=0))
    np.testing.assert_array_equal(before, after)
    again = keras_file.read(tmp_path / name, FORMATS[name])
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), before)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "operation",
    [lambda x: x / 2.0, lambda x: 1.0 - x, lambda x: keras.ops.flip(x, axis=-1), lambda x: keras.ops.mean(x, axis=1)],
)
def test_operations_are_read_back_from_hdf5_as_well(tmp_path, pixels, operation):
    model = network(operation, layers.ReLU())
    before, after = keras_file.write_proven(model, tmp_path / "model.h5", pixels)
    np.testing.assert_array_equal(before, after)


def test_what_a_format_cannot_hold_leaves_nothing_behind(tmp_path, pixels):
    model = network(lambda x: x[..., ::-1])
    (tmp_path / "model.h5").write_text("before")
    with pytest.raises(BadModel, match=r"the model cannot be kept as HDF5: .*nothing was written"):
        keras_file.write_proven(model, tmp_path / "model.h5", pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["model.h5"]
    assert (tmp_path / "model.h5").read_text() == "before"


def test_weights_that_came_back_otherwise_would_be_noticed(tmp_path, pixels, monkeypatch):
    read = keras_file.read

    def hurt(*arguments, **options):
        model = read(*arguments, **options)
        kernel = model.trainable_weights[0]
        kernel.assign(kernel + 1e-3)
        return model

    monkeypatch.setattr(keras_file, "read", hurt)
    with pytest.raises(BadModel, match=r"answers otherwise, by .*; nothing was written"):
        keras_file.write_proven(network(layers.Dense(2)), tmp_path / "model.h5", pixels)
    assert list(tmp_path.iterdir()) == []


def test_a_name_says_the_format(tmp_path):
    assert keras_file.kind_to_write(tmp_path / "a.hdf5") is Kind.HDF5
    with pytest.raises(WrongUse, match=r"must end in .keras, or in .h5 .*; received 'a.pb'"):
        keras_file.kind_to_write(tmp_path / "a.pb")


@pytest.mark.parametrize("name", FORMATS)
def test_a_lambda_is_found_and_not_run(tmp_path, name):
    note = tmp_path / "note"
    path = saved(network(with_lambda(str(note))), tmp_path / name)
    note.unlink()
    assert keras_file.code_in(path, FORMATS[name]) == ["Lambda 'double'", "a Python function"]
    with pytest.raises(
        BadModel, match=r"holds code of its own, .*: Lambda 'double'.*; if you trust .* add --allow-code"
    ):
        keras_file.read(path, FORMATS[name])
    assert not note.exists()
    keras_file.read(path, FORMATS[name], allow_code=True)
    assert note.exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_lambda_inside_a_model_inside_a_model_is_found(tmp_path, name):
    inner = keras.Sequential([keras.Input((6, 6, 1)), with_lambda()])
    outer = keras.Sequential([keras.Input((6, 6, 1)), inner])
    path = saved(network(outer), tmp_path / name)
    assert "Lambda 'double'" in keras_file.code_in(path, FORMATS[name])


def test_a_lambda_under_another_name_is_found(tmp_path):
    path = saved(network(layers.TimeDistributed(layers.Dense(2))), tmp_path / "model.keras")
    out = tmp_path / "other.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for item in old.namelist():
            content = old.read(item)
            if item == "config.json":
                config = json.loads(content)
                config["config"]["layers"][2] |= {"module": "keras", "class_name": "layers.Lambda"}
                content = json.dumps(config)
            new.writestr(item, content)
    assert any(found.startswith("Lambda") for found in keras_file.code_in(out, Kind.KERAS))


@pytest.mark.parametrize("name", FORMATS)
def test_how_a_model_was_trained_is_no_code_of_the_model(tmp_path, name):
    model = network()
    model.compile("adam", loss=lambda _, predicted: keras.ops.mean(predicted), metrics=["accuracy"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, of the lambda
        path = saved(model, tmp_path / name)
    assert keras_file.code_in(path, FORMATS[name]) == []
    assert keras_file.read(path, FORMATS[name]).output_shape == (None, 3)


@keras.saving.register_keras_serializable("theirs")
class Twice(layers.Layer):
    def call(self, x):
        return x * 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_layer_that_is_no_part_of_keras_is_named(tmp_path, name, monkeypatch):
    path = saved(network(Twice()), tmp_path / name)
    monkeypatch.delitem(keras.saving.get_custom_objects(), "theirs>Twice")
    with pytest.raises(BadModel, match=r"uses '(theirs>)?Twice', which is no part of Keras; export it to SavedModel"):
        keras_file.read(path, FORMATS[name])


def test_hdf5_under_another_name_is_read(tmp_path, pixels):
    model = network()
    shutil.copy(saved(model, tmp_path / "model.h5"), tmp_path / "model.keras")
    again = keras_file.read(tmp_path / "model.keras", Kind.HDF5)
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), model.predict(pixels, verbose=0))


def test_weights_without_an_architecture_are_said_so(tmp_path):
    network().save_weights(tmp_path / "some.weights.h5")
    with pytest.raises(BadModel, match="holds weights without their architecture"):
        keras_file.read(tmp_path / "some.weights.h5", Kind.HDF5)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_was_cut_off_is_said_so(tmp_path, name):
    path = saved(network(), tmp_path / name)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadModel, match=r"is damaged|cannot be loaded"):
        keras_file.read(path, FORMATS[name])


def test_a_zip_file_of_something_else_is_said_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("holiday.jpg", "")
    with pytest.raises(BadModel, match="a zip file and no Keras model"):
        keras_file.read(tmp_path / "a.keras", Kind.KERAS)
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
    with pytest.raises(BadModel, match="its architecture cannot be read"):
        keras_file.read(tmp_path / "b.keras", Kind.KERAS)


def test_the_advice_of_keras_does_not_reach_the_person(tmp_path, pixels, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        keras_file.write_proven(network(), tmp_path / "model.h5", pixels)
    assert not [record for record in caplog.records if record.name in ("absl", "tensorflow")]
    assert capfd.readouterr().err == ""
