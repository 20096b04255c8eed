import json

import numpy as np
import pytest

from artifacts.errors import WrongUse
from training.config import Recipe
from training.data import split
from training.data.sources import load
from training.importing.evidence import generated, labelled

DIGITS = [str(digit) for digit in range(10)]


def test_generated_pictures_are_the_same_each_time_and_differ_among_themselves():
    one, other = generated((9, 7, 3)), generated((9, 7, 3))
    assert one.pictures.encoded == other.pictures.encoded
    assert one.digest == other.digest == json.loads(one.split)["digest"]
    assert one.digest != generated((9, 7, 1)).digest
    assert len(set(one.pictures.encoded)) == 64
    pixels = one.pictures.decode(9, 7, 3)
    assert pixels.min() < 20
    assert pixels.max() > 235


def test_nothing_is_claimed_of_pictures_that_nobody_labelled():
    evidence = generated((8, 8, 1))
    assert evidence.pictures.labels.tolist() == [-1] * 64
    assert evidence.trial is None
    assert {metrics["accuracy"] for metrics in evidence.judge(np.asarray).values()} == {None}


def test_labelled_pictures_are_judged_as_a_training_judges_them(tmp_path):
    evidence = labelled("digits", (8, 8, 1), DIGITS, None, tmp_path)
    recipe = Recipe(0, 1, "none", 0.0, input=(8, 8, 1))
    data = load("digits", lambda _: recipe, None, tmp_path)
    divided = split.divide(data)
    assert evidence.split == split.write(data, divided)
    known = {picture.tobytes(): number for picture, number in zip(data.pixels, data.classes, strict=True)}

    def perfect(pixels):
        return np.eye(10, dtype=np.float32)[[known[picture.tobytes()] for picture in pixels]]

    metrics = evidence.judge(perfect)
    assert metrics["test"]["accuracy"] == metrics["validation"]["accuracy"] == 1
    assert np.sum(metrics["test"]["confusion_matrix"]) == len(divided["test"])
    assert evidence.trial(perfect) == (1.0, 0.0)
    assert evidence.trial(lambda pixels: np.roll(perfect(pixels), 1, axis=1))[0] == 0
    assert (evidence.pictures.labels >= 0).all()


def test_labels_that_the_pictures_lack_are_named(tmp_path):
    with pytest.raises(WrongUse, match="'ten'"):
        labelled("digits", (8, 8, 1), [*DIGITS, "ten"], None, tmp_path)
