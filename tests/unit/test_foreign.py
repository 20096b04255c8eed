import numpy as np
import pytest

from artifacts.errors import WrongUse
from artifacts.foreign import SCALINGS, Foreign, Kind, Layout, kind, short


def foreign(**fields):
    fitting = {"shape": (4, 6, 3), "layout": Layout.NHWC, "dtype": "float32", "scaling": "none", "logits": False}
    return Foreign(**{**fitting, "labels": ["a", "b"], **fields})


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("scaling", "by_hand"),
    [
        ("none", lambda x: x),
        ("unit", lambda x: x / np.float32(255)),
        ("signed", lambda x: x / np.float32(127.5) - np.float32(1)),
        ("caffe", lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)),
        (
            "torch",
            lambda x: (
                (x / np.float32(255) - np.array([0.485, 0.456, 0.406], np.float32))
                / np.array([0.229, 0.224, 0.225], np.float32)
            ),
        ),
    ],
)
def test_pictures_are_scaled_as_those_who_trained_on_them_did(pixels, scaling, by_hand):
    fed = foreign(scaling=scaling).feed(pixels)
    assert fed.dtype == np.float32
    np.testing.assert_array_equal(fed, by_hand(pixels.astype(np.float32)))


def test_the_modes_of_keras_are_those_of_its_preprocess_input(pixels):
    from keras.applications import imagenet_utils

    for scaling, mode in (("signed", "tf"), ("caffe", "caffe"), ("torch", "torch")):
        expected = imagenet_utils.preprocess_input(pixels.astype(np.float32), data_format="channels_last", mode=mode)
        np.testing.assert_allclose(foreign(scaling=scaling).feed(pixels), expected, rtol=1e-6, atol=1e-6)


def test_every_layout_holds_the_same_values(pixels):
    grey = pixels[..., :1]
    np.testing.assert_array_equal(foreign(layout=Layout.NCHW).feed(pixels)[2, 1], pixels[2, :, :, 1])
    np.testing.assert_array_equal(foreign(layout=Layout.NHW, shape=(4, 6, 1)).feed(grey), pixels[..., 0])
    np.testing.assert_array_equal(foreign(layout=Layout.FLAT).feed(pixels), pixels.reshape(5, 72))
    assert foreign(dtype="uint8").feed(pixels).dtype == np.uint8


def test_one_unit_becomes_two_probabilities():
    given = np.array([[0.25], [1.0]], np.float32)
    np.testing.assert_array_equal(foreign().probabilities(given), np.float32([[0.75, 0.25], [0, 1]]))
    of_logits = foreign(logits=True).probabilities(np.array([[0.0], [1000.0], [-1000.0]]))
    np.testing.assert_array_equal(of_logits, np.float32([[0.5, 0.5], [0, 1], [1, 0]]))


def test_logits_become_probabilities_without_overflow():
    answers = foreign(logits=True).probabilities(np.array([[[[1000.0, 1000.0, -1000.0]]]]))
    assert answers.dtype == np.float32
    np.testing.assert_array_equal(answers, np.float32([[0.5, 0.5, 0]]))


def test_a_format_is_known_by_the_content(tmp_path):
    contents = {"a.keras": b"PK\x03\x04 and more", "b.keras": b"\x89HDF\r\n\x1a\n and more", "c.onnx": b"\x08\x08"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "saved_model.pb").write_bytes(b"")
    found = [kind(tmp_path / name) for name in ("a.keras", "b.keras", "c.onnx", "d")]
    assert found == [Kind.KERAS, Kind.HDF5, Kind.ONNX, Kind.SAVED_MODEL]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing.h5", "there is no file"),
        ("folder", "is not a SavedModel: it has no saved_model.pb"),
        ("text.h5", "is not a model"),
        ("empty.keras", "is not a model"),
        ("model/saved_model.pb", "give its folder"),
    ],
)
def test_what_is_no_model_is_said_so(tmp_path, name, says):
    (tmp_path / "folder").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "empty.keras").write_bytes(b"")
    with pytest.raises(WrongUse, match=says):
        kind(tmp_path / name)


def test_colour_scalings_do_not_fit_grey_pictures():
    assert [name for name, scaling in SCALINGS.items() if scaling.fits(1)] == ["none", "unit", "signed"]
    assert all(scaling.fits(3) for scaling in SCALINGS.values())


def test_what_a_library_says_is_brought_to_one_short_line():
    assert short("a\n  b \x1b[1mc\x1b[0m") == "a b c"
    assert len(short("x" * 1000)) == 301
