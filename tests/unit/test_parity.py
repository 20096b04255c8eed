import numpy as np
import pytest

from artifacts.errors import ParityFailed
from exporters.parity import BATCHES, TOLERANCE, prove

PIXELS = np.random.default_rng(0).integers(256, size=(20, 4, 4, 3), dtype=np.uint8)
WEIGHTS = np.random.default_rng(1).normal(size=(48, 5)).astype(np.float32)


def linear(pixels):
    """A whole classifier: a linear layer on the pixels, and softmax."""
    logits = pixels.reshape(len(pixels), -1).astype(np.float32) / 255 @ WEIGHTS
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


EXPECTED = linear(PIXELS)


def altered(change):
    def predict(pixels):
        return change(linear(pixels))

    return predict


def off_by(difference):
    def change(probabilities):
        worse = probabilities.copy()
        rows = np.arange(len(worse))
        worse[rows, worse.argmax(1)] += difference
        return worse

    return altered(change)


def one_nan(probabilities):
    probabilities[0, 0] = np.nan
    return probabilities


def wrong_after_the_first(pixels):
    answers = linear(pixels)
    return np.repeat(answers[:1], len(answers), 0)


def test_equal_answers_pass_and_the_measure_is_kept():
    parity = prove(PIXELS, EXPECTED, {"SavedModel": linear, "ONNX": linear})
    assert parity.max_difference < 1e-6
    assert (parity.differing_labels, parity.pictures) == (0, 20)
    assert parity.to_json() == {
        "max_difference": parity.max_difference,
        "differing_labels": 0,
        "pictures": 20,
        "batches": list(BATCHES),
        "tolerance": TOLERANCE,
    }


def test_a_small_difference_passes_and_the_worst_export_is_what_stands():
    parity = prove(PIXELS, EXPECTED, {"worse": off_by(5e-5), "good": linear})
    assert 4e-5 < parity.max_difference < 6e-5


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")])
@pytest.mark.parametrize("difference", [2e-4, -2e-4, 1.0, np.inf])
def test_a_difference_beyond_the_tolerance_is_refused(difference, order):
    exports = {"good": linear, "bad": off_by(difference)}
    with pytest.raises(ParityFailed, match=r"bad differs from the Keras model at batch 1: .*; nothing was published"):
        prove(PIXELS, EXPECTED, {name: exports[name] for name in order})


def test_another_label_is_refused_however_small_the_difference():
    pixels = PIXELS[:1]
    expected = np.array([[0.50001, 0.49999]], np.float32)
    with pytest.raises(ParityFailed, match="in 1 of 1 labels"):
        prove(pixels, expected, {"ONNX": lambda _: np.array([[0.49999, 0.50001]], np.float32)})


def test_nan_is_refused():
    with pytest.raises(ParityFailed, match="by nan"):
        prove(PIXELS, EXPECTED, {"ONNX": altered(one_nan)})
    with pytest.raises(ParityFailed, match="by nan"):
        prove(PIXELS, np.full_like(EXPECTED, np.nan), {"ONNX": altered(lambda answers: answers * np.nan)})


@pytest.mark.parametrize(
    "change",
    [
        lambda answers: answers[:, :4],
        lambda answers: np.pad(answers, ((0, 0), (0, 1))),
        lambda answers: answers[:, 0],
        lambda answers: answers[:, None],
        lambda answers: answers[:0],
        lambda answers: np.repeat(answers, 2, 0),
    ],
)
def test_another_shape_is_refused(change):
    with pytest.raises(ParityFailed, match=r"ONNX answers with shape \(.*\); the Keras model with \(20, 5\)"):
        prove(PIXELS, EXPECTED, {"ONNX": altered(change)})


def test_a_graph_that_is_wrong_only_at_a_larger_batch_is_refused():
    with pytest.raises(ParityFailed, match="at batch 7"):
        prove(PIXELS, EXPECTED, {"ONNX": wrong_after_the_first})


def test_a_graph_that_is_wrong_only_in_the_ragged_last_batch_is_refused():
    with pytest.raises(ParityFailed, match="at batch 7"):
        prove(PIXELS, EXPECTED, {"ONNX": lambda some: linear(some if len(some) in (1, 7) else 255 - some)})


def test_swapped_channels_are_refused():
    with pytest.raises(ParityFailed):
        prove(PIXELS, EXPECTED, {"ONNX": lambda pixels: linear(pixels[..., ::-1])})


def test_swapped_height_and_width_are_refused():
    with pytest.raises(ParityFailed):
        prove(PIXELS, EXPECTED, {"ONNX": lambda pixels: linear(pixels.swapaxes(1, 2))})


def test_a_mean_subtracted_twice_is_refused():
    with pytest.raises(ParityFailed):
        prove(PIXELS, EXPECTED, {"ONNX": lambda pixels: linear(pixels // 2)})


def test_nothing_to_compare_proves_nothing():
    with pytest.raises(ParityFailed):
        prove(PIXELS, EXPECTED, {})
    with pytest.raises(ParityFailed):
        prove(PIXELS[:0], EXPECTED[:0], {"ONNX": linear})
