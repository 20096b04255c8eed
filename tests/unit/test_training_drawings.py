import numpy as np
import pytest

from training.data import drawings, split


@pytest.fixture(scope="module")
def made():
    return drawings.crosses_noughts()


def test_the_drawings_are_balanced_and_all_different_and_can_be_divided(load, made):
    assert made.pixels.shape == (2 * drawings.OF_EACH, 9, 9, 1)
    assert made.pixels.dtype == np.uint8
    assert np.bincount(made.classes).tolist() == [drawings.OF_EACH] * 2
    found = load("crosses_noughts")
    assert found.labels == ["O", "X"]
    assert len(set(found.sha256)) == len(found.files)
    assert [len(rows) for rows in split.divide(found).values()] == [2800, 600, 600]


def test_the_drawings_are_the_same_each_time(made):
    np.testing.assert_array_equal(drawings.crosses_noughts().pixels, made.pixels)


def test_the_drawings_are_what_they_are_called(made):
    """The middle of a nought is emptier than that of a cross; and the strokes are antialiased."""
    middle = made.pixels[:, 3:6, 3:6, 0].reshape(len(made.pixels), -1).max(axis=1)
    assert (middle[made.classes == 1] > 100).mean() > 0.95
    assert (middle[made.classes == 0] < middle[made.classes == 1]).mean() > 0.9
    grey = (made.pixels > 20) & (made.pixels < 235)
    assert grey.mean() > 0.1


def test_the_drawings_vary_in_place_and_in_stroke(made):
    light = made.pixels[..., 0].astype(float)
    ink = light.sum(axis=(1, 2))
    rows = (light.sum(axis=2) * np.arange(9)).sum(axis=1) / ink
    assert rows.std() > 0.3
    assert np.quantile(ink, 0.9) > 1.7 * np.quantile(ink, 0.1)
