import numpy as np
import pytest

from artifacts import census as floor
from artifacts.census import BRIGHTNESS, CONFIDENCE, FEATURES, LABEL, SIZE, Census, Look, census, fault, ordered
from artifacts.pixels import area


def bins(look):
    counted = Census()
    counted.add(look)
    return {feature: next(iter(counted.bins[feature])) for feature in FEATURES}


@pytest.mark.parametrize(
    ("confidence", "name"), [(0.0, "0.0"), (0.0999, "0.0"), (0.1, "0.1"), (0.35, "0.3"), (0.9, "0.9"), (1.0, "0.9")]
)
def test_confidences_fall_into_tenths(confidence, name):
    assert bins(Look("a", confidence, 0, 1))[CONFIDENCE] == name


@pytest.mark.parametrize(("mean", "name"), [(0, "0"), (15.99, "0"), (16, "16"), (128, "128"), (255, "240")])
def test_means_fall_into_sixteenths(mean, name):
    assert bins(Look("a", 0, mean, 1))[BRIGHTNESS] == name


@pytest.mark.parametrize(
    ("side", "name"), [(1, "1"), (8, "8"), (28, "27"), (32, "32"), (38, "32"), (39, "38"), (64, "64"), (6324, "5793")]
)
def test_sizes_fall_into_quarters_of_an_octave(side, name):
    assert bins(Look("a", 0, 0, side * side))[SIZE] == name


def test_a_size_is_that_of_the_square_of_as_many_pixels():
    assert bins(Look("a", 0, 0, 16 * 64))[SIZE] == bins(Look("a", 0, 0, 32 * 32))[SIZE]


def test_a_census_of_pictures_counts_what_the_model_answers_of_them():
    pixels = np.stack([np.full((2, 3, 1), tone, np.uint8) for tone in (0, 100, 255)])
    probabilities = np.array([[0.95, 0.05], [0.4, 0.6], [0.2, 0.8]], np.float32)
    counted = census(pixels, probabilities, np.array([64, 64, 4096]), ["dark", "light"])
    assert counted.pictures == 3
    assert counted.to_json() == {
        "label": {"dark": 1, "light": 2},
        "confidence": {"0.6": 1, "0.8": 1, "0.9": 1},
        "brightness": {"0": 1, "96": 1, "240": 1},
        "size": {"8": 2, "64": 1},
    }


def test_the_brightness_of_a_large_picture_does_not_overflow():
    assert floor.brightness(np.full((5000, 6000, 1), 255, np.uint8)) == 255
    assert floor.brightness(np.array([[[0], [255]]], np.uint8)) == 127.5


def test_what_is_told_is_read_back():
    counted = Census()
    for number in range(100):
        counted.add(Look(f"label {number % 7}", number / 100, number * 2.5, number * 50 + 1))
    assert Census.of_json(counted.to_json()) == counted
    assert fault(counted.to_json()) is None
    twice = Census.of_json(counted.to_json())
    twice.update(counted)
    assert twice.pictures == 200


def test_bins_stand_from_low_to_high():
    assert ordered(SIZE, ["1024", "8", "64"]) == ["8", "64", "1024"]
    assert ordered(LABEL, ["10", "9"]) == ["10", "9"]


WHOLE = {"label": {"a": 1}, "confidence": {"0.9": 1}, "brightness": {"0": 1}, "size": {"8": 1}}


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([], "must have label, confidence, brightness, size"),
        ({"label": {"a": 1}}, "must have label, confidence, brightness, size"),
        ({**WHOLE, "label": {}}, "must have bins under label"),
        ({**WHOLE, "size": [1]}, "must have bins under size"),
        ({**WHOLE, "size": {"8": 0}}, "whole numbers from 1 on under size"),
        ({**WHOLE, "size": {"8": 1.5}}, "whole numbers from 1 on under size"),
        ({**WHOLE, "size": {"8": True}}, "whole numbers from 1 on under size"),
        ({**WHOLE, "size": {"8": 10**400}}, "whole numbers from 1 on under size"),
        ({**WHOLE, "confidence": {"high": 1}}, "must name the bins of confidence by their lower ends"),
        ({**WHOLE, "brightness": {"nan": 1}}, "must name the bins of brightness by their lower ends"),
        ({**WHOLE, "brightness": {"-1": 1}}, "must name the bins of brightness by their lower ends"),
    ],
)
def test_what_is_no_census_has_a_fault(told, says):
    assert says in fault(told)
    assert fault(WHOLE) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_area_of_a_picture_is_that_of_its_header(encode, kind):
    assert area(encode(np.zeros((30, 70, 3), np.uint8), kind)) == 2100
