import base64
import io

import keras
import numpy as np
import pytest
from PIL import Image

from training import models
from training.config import AUGMENTATIONS
from training.learning.activations import BINS, Activations
from training.learning.feed import Examples
from training.report.activity import activity
from training.report.maps import MOST_MAPS, SIDE, maps
from training.report.sheet import PICTURES, VERSIONS, sheet


def pixels(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


PICTURE = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)


def test_every_layer_of_a_small_network_is_looked_into():
    model = models.build("crosses-noughts", (9, 9, 1), 2, seed=0)
    shown = maps(model, PICTURE[:9, :9])
    assert [(row["what"], row["shape"], len(row["maps"])) for row in shown] == [
        ("Convolution 3×3, 3", "9 × 9 × 3", 3),
        ("ReLU", "9 × 9 × 3", 3),
        ("Max pooling 2×2", "5 × 5 × 3", 3),
        ("Convolution 3×3, 3", "5 × 5 × 3", 3),
        ("ReLU", "5 × 5 × 3", 3),
        ("Max pooling 2×2", "3 × 3 × 3", 3),
        ("Dense 2", "2", 0),
    ]
    assert pixels(shown[0]["maps"][0]).shape == (9, 9, 3)
    assert pixels(shown[-1]["vector"]).shape == (1, 2, 3)


def test_a_map_has_its_own_values():
    """One filter that passes the picture through: its brightest pixel is the brightest of the map."""
    image = keras.Input((28, 28, 1), dtype="uint8")
    x = keras.layers.Conv2D(1, 1, kernel_initializer="ones")(keras.layers.Rescaling(1 / 255)(image))
    (row,) = maps(keras.Model(image, x), PICTURE)
    green = pixels(row["maps"][0])[..., 1].astype(int)  # of viridis, rises with the value
    assert np.array_equal(np.argsort(PICTURE.ravel() == PICTURE.max()), np.argsort(green.ravel() == green.max()))


def test_many_and_large_maps_are_cut_short():
    model = models.build("cats-dogs", (150, 150, 3), 2, seed=0)
    shown = maps(model, np.zeros((150, 150, 3), np.uint8))
    assert (len(shown[0]["maps"]), shown[0]["left_out"]) == (MOST_MAPS, 32 - MOST_MAPS)
    assert max(pixels(shown[0]["maps"][0]).shape[:2]) <= SIDE
    assert sum(len(address) for row in shown for address in row["maps"]) < 500_000


def test_a_large_network_is_not_looked_into():
    assert maps(models.build("resnet20v1", (16, 16, 1), 2, seed=0), PICTURE[:16, :16]) == []


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(6), 20)
    shown = (classes[:, None, None, None] * 40 + rng.integers(0, 20, (120, 16, 16, 3))).astype(np.uint8)
    return Examples(shown, classes, np.arange(0, 120, 2))


@pytest.mark.parametrize("name", AUGMENTATIONS[1:])
def test_the_sheet_shows_originals_and_versions_of_them(examples, name):
    rows = sheet(name, examples, seed=3)
    assert [len(row) for row in rows] == [1 + VERSIONS] * PICTURES
    known = {examples.pixels[row].tobytes() for row in examples.rows}
    assert all(pixels(row[0]).tobytes() in known for row in rows)
    assert len({round(pixels(row[0]).mean() / 40) for row in rows}) == PICTURES  # a class each
    assert all(len(set(row)) > 2 for row in rows)


def test_the_seed_decides_the_sheet(examples):
    one, same, other = (sheet("shift-flip", examples, seed) for seed in (1, 1, 2))
    assert one == same != other


def test_without_augmentation_there_is_no_sheet(examples):
    assert sheet("none", examples, seed=0) == []


def test_fewer_pictures_than_places(examples):
    few = Examples(examples.pixels, examples.classes, examples.rows[:2])
    assert len(sheet("shift", few, seed=0)) == 2


def test_the_colour_dimension_is_bright_where_activations_are():
    alive, dead = [5, 4, 3, 2, 1] + [0] * (BINS - 5), [100] + [0] * (BINS - 1)
    record = Activations(
        ["a", "b"], [0, 7], [[0.3, 0.0]] * 2, [[0.5, 0.0]] * 2, [[0.5, 1.0]] * 2, [[alive, alive], [alive, dead]]
    )
    told = activity(record)
    assert told["top"] == 5 * 0.25  # what is beyond the highest bin that is filled is not drawn
    assert (told["batches"], len(told["traces"])) == (7, 3)
    first, second = (pixels(layer["histogram"]).astype(int) for layer in told["layers"])
    assert first.shape == second.shape == (5, 2, 3)
    green = first[..., 1]
    assert (np.diff(green[:, 0]) > 0).all()  # brighter downwards, where there are more
    assert second[-1, 1, 1] > second[0, 1, 1] == second[3, 1, 1]


def test_nothing_watched_is_nothing_shown():
    assert activity(Activations([])) == {}
