import numpy as np
import pytest

from artifacts import pixels
from artifacts.errors import WrongUse


def test_digits_become_bytes_and_are_enlarged_as_the_decoder_would(load):
    found = load("digits")
    assert found.pixels.shape == (1797, 28, 28, 1)
    assert found.pixels.dtype == np.uint8
    for position in (0, 17, 1796):
        decoded = pixels.decode(found.encode(position), 28, 28, 1).pixels
        np.testing.assert_array_equal(decoded, found.pixels[position])
    assert pixels.decode(found.encode(0), 8, 8, 1).pixels.max() in range(230, 256)
    assert found.labels == [str(digit) for digit in range(10)]
    assert found.formats == {"scikit-learn": 1797}
    assert found.leaks == found.contradictions == found.remarks == []


def test_grey_becomes_rgb_as_the_decoder_would(load):
    found = load("digits", input="20x24x3")
    assert found.pixels.shape == (1797, 20, 24, 3)
    np.testing.assert_array_equal(pixels.decode(found.encode(5), 20, 24, 3).pixels, found.pixels[5])


def test_grey_of_the_right_size_becomes_rgb(load):
    found = load("digits", input="28x28x3", labels="4,2")
    for position in (0, 100):
        np.testing.assert_array_equal(pixels.decode(found.encode(position), 28, 28, 3).pixels, found.pixels[position])


def test_only_the_chosen_labels_are_kept_in_the_order_given(load):
    every, found = load("digits"), load("digits", labels="7,3")
    assert found.labels == ["7", "3"]
    rows = np.flatnonzero(np.isin(every.classes, (7, 3)))
    assert found.files == [every.files[row] for row in rows]
    assert found.sha256 == [every.sha256[row] for row in rows]
    np.testing.assert_array_equal(found.pixels, every.pixels[rows])
    np.testing.assert_array_equal(found.classes, np.where(every.classes[rows] == 7, 0, 1))
    assert pixels.decode(found.encode(9), 28, 28, 1).pixels.tolist() == found.pixels[9].tolist()


def test_labels_that_there_are_not_are_refused_with_the_nearest(load):
    with pytest.raises(WrongUse, match=r"digits has no labels 'O', '77' \(did you mean '7'\?\); its labels are 0, 1"):
        load("digits", labels="O,3,77")


def test_arrays_that_do_not_fit_in_memory_are_kept_on_the_disk(load):
    small = load("digits", input="32x32x3")
    for _ in range(2):
        found = load("digits", input="32x32x3", memory_mb="0")
        assert isinstance(found.pixels, np.memmap)
        np.testing.assert_array_equal(found.pixels, small.pixels)
