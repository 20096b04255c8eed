import json
from dataclasses import dataclass

import numpy as np
import pytest

from artifacts.errors import BadModel, WrongUse
from artifacts.fitting import check_outputs, check_units, decide_scaling, fit, fit_input
from artifacts.foreign import Evidence, Foreign, Layout, Wanted
from artifacts.pictures import Pictures
from artifacts.pixels import encode_png

TWO = ["dark", "light"]


def wanted(**fields):
    return Wanted(labels=TWO, **fields)


@pytest.mark.parametrize(
    ("dims", "fields", "shape", "layout"),
    [
        ((8, 9, 3), {}, (8, 9, 3), Layout.NHWC),
        ((8, 9, 1), {"size": (8, 9), "channels": 1}, (8, 9, 1), Layout.NHWC),
        ((3, 8, 9), {}, (8, 9, 3), Layout.NCHW),
        ((1, 8, 9), {}, (8, 9, 1), Layout.NCHW),
        ((3, None, None), {"size": (5, 6)}, (5, 6, 3), Layout.NCHW),
        ((None, None, 3), {"size": (5, 6)}, (5, 6, 3), Layout.NHWC),
        ((None, 9, None), {"size": (5, 9), "channels": 1}, (5, 9, 1), Layout.NHWC),
        ((8, 9), {}, (8, 9, 1), Layout.NHW),
        ((72,), {"size": (8, 9)}, (8, 9, 1), Layout.FLAT),
        ((216,), {"size": (8, 9)}, (8, 9, 3), Layout.FLAT),
    ],
)
def test_the_input_is_found_in_what_the_model_declares(dims, fields, shape, layout):
    assert fit_input(dims, wanted(**fields)) == (shape, layout)


@pytest.mark.parametrize(
    ("dims", "fields", "error", "says"),
    [
        ((8, 9, 3), {"size": (9, 8)}, WrongUse, "takes pictures of 8×9; received --size 9,8"),
        ((8, 9, 3), {"channels": 1}, WrongUse, "channels: 3; received --channels 1"),
        ((None, None, 3), {}, WrongUse, "of any size .* give one with --size H,W"),
        ((None, None, None), {"size": (5, 6)}, WrongUse, "give --channels 1 or --channels 3"),
        ((8, 9, 4), {}, BadModel, "of 4 channels"),
        ((72,), {}, WrongUse, "vectors of 72 values; give --size"),
        ((72,), {"size": (8, 8)}, WrongUse, "--size 8,8 does not make them"),
        ((None,), {"size": (8, 8)}, BadModel, "takes any, which is not one picture"),
        ((), {}, BadModel, "a single number"),
        ((4, 8, 9, 3), {}, BadModel, "4×8×9×3"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(dims, fields, error, says):
    with pytest.raises(error, match=says):
        fit_input(dims, wanted(**fields))


def test_there_must_be_a_label_for_each_output():
    check_units(2, TWO)
    check_units(1, TWO)
    with pytest.raises(WrongUse, match="needs 10 labels; --labels holds 2"):
        check_units(10, TWO)
    with pytest.raises(WrongUse, match=r"needs 2 labels \(one unit, .*\); --labels holds 3"):
        check_units(1, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("outputs", "logits", "says"),
    [
        ([[0.4, 0.4]], False, "add to 0.8 to 0.8; for logits: --logits"),
        ([[2.0, -1.0]], False, "values from -1 to 2"),
        ([[0.4, 0.6]], True, "leave --logits out"),
        ([[1.5], [-3.0]], False, "for logits: --logits"),
        ([[0.5], [0.9]], True, "leave --logits out"),
    ],
)
def test_probabilities_and_logits_are_not_taken_for_each_other(outputs, logits, says):
    with pytest.raises(WrongUse, match=says):
        check_outputs(np.array(outputs), logits=logits)
    check_outputs(np.array(outputs), logits=not logits)


def test_outputs_that_are_no_numbers_are_refused():
    with pytest.raises(BadModel, match="no number"):
        check_outputs(np.array([[np.nan, 1]]), logits=False)


@dataclass
class Light:
    """Says `light` of pictures whose mean is above a half, provided that they come scaled from 0 to 1."""

    dims: tuple = (4, 4, 1)
    dtype: str = "float32"
    scales_itself: bool = False

    def run(self, pictures):
        light = np.clip(pictures.astype(np.float32).reshape(len(pictures), -1).mean(1), 0, 1).round()
        return np.stack([1 - light, light], axis=1)


@pytest.fixture
def evidence():
    """Four tones; a scaling is tried on whether it tells the two light ones from the dark ones."""
    tones = np.array([10, 100, 150, 250], np.uint8)
    pixels = np.broadcast_to(tones[:, None, None, None], (4, 4, 4, 1))
    classes = np.array([0, 0, 1, 1])

    def trial(predict):
        answers = predict(pixels)
        return float((answers.argmax(1) == classes).mean()), 0.0

    pictures = Pictures([encode_png(each) for each in pixels], list("abcd"), classes)
    return Evidence(pictures, "tones", "digest", json.dumps({}), dict, trial)


def test_with_labelled_pictures_the_scaling_is_the_one_that_is_right_most_often(evidence):
    said = []
    fitted, same = fit(Light(), wanted(), lambda _: evidence, said.append)
    assert same is evidence
    assert fitted == Foreign((4, 4, 1), Layout.NHWC, "float32", "unit", logits=False, labels=TWO)
    assert said == ["validation accuracy by scaling: none 0.5000, unit 1.0000, signed 0.7500; unit is taken"]


def unscaled():
    return Foreign((4, 4, 1), Layout.NHWC, "float32", "none", logits=False, labels=TWO)


def test_without_labelled_pictures_the_person_has_to_say(evidence):
    silent = Evidence(evidence.pictures, "", "", "", evidence.judge, None)
    with pytest.raises(WrongUse, match=r"give --scaling none\|unit\|signed\|caffe\|torch, or --data"):
        decide_scaling(wanted(), unscaled(), Light(), silent)
    assert decide_scaling(wanted(scaling="signed"), unscaled(), Light(), silent) == ("signed", "")


def test_a_model_that_scales_its_pictures_is_left_to_it(evidence):
    itself = Light(scales_itself=True)
    assert decide_scaling(wanted(), unscaled(), itself, evidence)[0] == "none"
    scaling, why = decide_scaling(wanted(scaling="unit"), unscaled(), itself, evidence)
    assert (scaling, why) == ("unit", "the model scales again what --scaling unit makes")


@pytest.mark.parametrize(
    ("scaling", "dtype", "says"),
    [("caffe", "float32", "is for colour pictures"), ("unit", "uint8", "takes uint8 and scales it itself")],
)
def test_a_scaling_that_the_model_cannot_take_is_refused(evidence, scaling, dtype, says):
    with pytest.raises(WrongUse, match=says):
        decide_scaling(wanted(scaling=scaling), unscaled(), Light(dtype=dtype), evidence)
