import json

import numpy as np
import pytest

from artifacts.errors import ParityFailed
from artifacts.pictures import GOLDEN_PICTURES, Pictures
from exporters import parity
from exporters.parity import BATCHES, LEAST, MANY, TOLERANCE, Reference, judge, prove

NOISE = np.random.default_rng(0).integers(256, size=(100, 4, 4, 3), dtype=np.uint8)
WEIGHTS = np.random.default_rng(1).normal(size=(48, 5)).astype(np.float32)
BIAS = np.array([2, -2, 1, 0, -1], np.float32)
UNKNOWN = np.full(100, -1)


def linear(pixels):
    """A whole classifier: a linear layer on the pixels, and softmax."""
    logits = pixels.reshape(-1, 48).astype(np.float32) / 255 @ WEIGHTS + BIAS
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


REFERENCE = Reference(NOISE, linear(NOISE), UNKNOWN)


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


def only_at(batch, change=lambda pixels: 255 - pixels):
    """A classifier that is wrong when it gets so many pictures at once."""
    return lambda pixels: linear(change(pixels) if len(pixels) == batch else pixels)


def of(expected, classes=None):
    """A reference of so many pictures, and a way to answer them; a picture's number stands in its first two pixels."""
    count = len(expected)
    numbers = np.arange(count)
    pixels = np.stack([numbers // 256, numbers % 256], 1).astype(np.uint8).reshape(count, 1, 2, 1)
    classes = np.full(count, -1) if classes is None else np.asarray(classes)

    def answering(answers):
        return lambda sent: np.asarray(answers, np.float32)[sent[:, 0, 0, 0] * np.int64(256) + sent[:, 0, 1, 0]]

    return Reference(pixels, np.asarray(expected, np.float32), classes), answering


def two(labels, sure=0.9):
    """Answers of a classifier of two classes that gives these labels."""
    return np.where(np.asarray(labels)[:, None] == [0, 1], sure, 1 - sure)


def flipped(labels, count):
    """As the labels, but for the first few."""
    return [1 - label if number < count else label for number, label in enumerate(labels)]


def test_equal_answers_pass_and_the_measure_is_kept():
    verdict = prove(REFERENCE, {"SavedModel": linear, "ONNX": linear})
    assert (verdict.fault, verdict.accuracy, verdict.details) == (None, None, {})
    assert verdict.parity.max_difference < 1e-6
    assert verdict.parity.to_json() == {
        "max_difference": verdict.parity.max_difference,
        "differing_labels": 0,
        "pictures": 100,
        "batches": [*BATCHES, MANY],
        "tolerance": TOLERANCE,
        "agreement": 1.0,
        "accuracy_change": None,
    }


@pytest.mark.parametrize("order", [("worse", "good"), ("good", "worse")])
def test_a_small_difference_passes_and_the_worst_export_is_what_stands(order):
    exports = {"worse": off_by(5e-5), "good": linear}
    verdict = prove(REFERENCE, {name: exports[name] for name in order})
    assert verdict.fault is None
    assert 4e-5 < verdict.parity.max_difference < 6e-5


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")])
@pytest.mark.parametrize("difference", [2e-4, -2e-4, 1.0])
def test_a_difference_beyond_the_tolerance_is_a_fault(difference, order):
    exports = {"good": linear, "bad": off_by(difference)}
    verdict = prove(REFERENCE, {name: exports[name] for name in order})
    assert verdict.fault.startswith(f"bad differs from the Keras model at batch 1: by {abs(difference):.2e}")
    assert verdict.parity.max_difference == pytest.approx(abs(difference), rel=1e-2)


def test_the_tolerance_itself_is_accepted_and_the_next_number_is_not():
    reference, answering = of([[0, 1]])
    border = np.float32(TOLERANCE)
    assert prove(reference, {"ONNX": answering([[border, 1]])}).fault is None
    assert prove(reference, {"ONNX": answering([[np.nextafter(border, np.float32(1)), 1]])}).fault


def test_another_label_is_a_fault_however_small_the_difference():
    reference, answering = of([[0.50001, 0.49999]])
    verdict = prove(reference, {"ONNX": answering([[0.49999, 0.50001]])})
    assert "in 1 of 1 labels" in verdict.fault
    assert verdict.parity.differing_labels == 1
    assert verdict.parity.agreement == 0


def test_an_export_with_other_labels_stands_before_one_that_is_only_further_off():
    reference, answering = of([[0.50001, 0.49999], [1, 0]])
    flips = answering([[0.49999, 0.50001], [1, 0]])
    drifts = answering([[0.50001, 0.49999], [0.9, 0.1]])
    verdict = prove(reference, {"drifts": drifts, "flips": flips})
    assert (verdict.parity.differing_labels, verdict.parity.agreement) == (1, 0.5)
    assert verdict.parity.max_difference == pytest.approx(0.1)


def test_the_original_is_named():
    reference = Reference(NOISE, linear(NOISE), UNKNOWN, "the SavedModel of /tmp/pets")
    assert "ONNX differs from the SavedModel of /tmp/pets" in prove(reference, {"ONNX": off_by(0.5)}).fault
    assert "than the SavedModel of /tmp/pets" in judge("int8", altered(lambda given: 1 - given), reference).fault


def proven(predict, reference=REFERENCE):
    return prove(reference, {"ONNX": predict})


def judged(predict, reference=REFERENCE):
    return judge("ONNX", predict, reference)


@pytest.fixture(params=[proven, judged])
def gate(request):
    """Either way to compare answers."""
    return request.param


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("picture", [0, GOLDEN_PICTURES, len(NOISE) - 1])
def test_what_is_no_number_is_refused_wherever_it_stands(gate, number, picture):
    answers = linear(NOISE)
    reference, answering = of(answers)
    answers = answers.copy()
    answers[picture, 0] = number
    with pytest.raises(ParityFailed, match="ONNX answers with what is no number at batch"):
        gate(answering(answers), reference)


def test_an_original_that_answers_with_what_is_no_number_proves_nothing(gate):
    for expected in (np.full((3, 2), np.nan), [[0, 1], [np.nan, 1], [0, 1]]):
        reference, answering = of(expected)
        for answers in (expected, np.nan_to_num(expected)):
            with pytest.raises(ParityFailed, match="the Keras model answers with what is no number"):
                gate(answering(answers), reference)


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
def test_another_shape_is_refused(gate, change):
    with pytest.raises(ParityFailed, match=r"ONNX answers with shape \(.*\); the Keras model with \(64, 5\)"):
        gate(altered(change))


@pytest.mark.parametrize("batch", [*BATCHES, MANY])
def test_a_graph_that_is_wrong_only_at_one_batch_size_is_refused(batch):
    assert f"at batch {batch}:" in proven(only_at(batch)).fault


@pytest.mark.parametrize(("batch", "ragged"), [(7, 20 % 7), (MANY, 20)])
def test_a_graph_that_is_wrong_only_in_the_ragged_last_batch_is_refused(batch, ragged):
    reference = Reference(NOISE[:20], linear(NOISE[:20]), UNKNOWN[:20])
    assert f"at batch {batch}:" in proven(only_at(ragged), reference).fault


def test_a_graph_that_answers_a_batch_with_its_first_picture_is_refused(gate):
    assert gate(lambda pixels: np.repeat(linear(pixels[:1]), len(pixels), 0)).fault


def test_a_graph_that_is_wrong_only_beyond_the_golden_pictures_is_refused(gate):
    labels = np.arange(500) % 2
    reference, answering = of(two(labels))
    assert gate(answering(two(labels)), reference).fault is None
    answers = np.where(np.arange(500)[:, None] < GOLDEN_PICTURES, two(labels), two(1 - labels))
    assert gate(answering(answers), reference).fault


@pytest.mark.parametrize(
    "sabotage",
    [
        lambda pixels: pixels[..., ::-1],
        lambda pixels: pixels.swapaxes(1, 2),
        lambda pixels: pixels[:, ::-1],
        lambda pixels: pixels // 2,
        lambda pixels: pixels.astype(np.float32) - 128,
        lambda pixels: pixels[::-1],
    ],
    ids=["BGR", "height and width", "upside down", "scaled twice", "a mean subtracted", "order"],
)
def test_a_change_of_the_pictures_is_refused(gate, sabotage):
    assert gate(lambda pixels: linear(sabotage(pixels))).fault


def test_labels_in_another_order_are_refused(gate):
    assert gate(altered(lambda answers: np.roll(answers, 1, axis=1))).fault


def test_nothing_to_compare_proves_nothing():
    with pytest.raises(ParityFailed, match="100 pictures and 0 exports prove nothing; nothing was published"):
        prove(REFERENCE, {})
    with pytest.raises(ParityFailed, match="0 pictures and 1 exports"):
        prove(Reference(NOISE[:0], linear(NOISE[:0]), UNKNOWN[:0]), {"ONNX": linear})


@pytest.mark.parametrize(("count", "most"), [(200, 1), (300, 1), (1000, 5), (1001, 5), (1200, 6), (199, 0)])
def test_labels_may_differ_on_half_a_percent_and_on_not_one_more(count, most):
    labels = np.arange(count) % 2
    reference, answering = of(two(labels))
    verdict = judge("int8", answering(two(flipped(labels, most))), reference)
    assert (verdict.fault, verdict.parity.differing_labels) == (None, most)
    assert verdict.parity.agreement == pytest.approx(1 - most / count)
    assert verdict.parity.tolerance is None
    verdict = judge("int8", answering(two(flipped(labels, most + 1))), reference)
    share = f"{most + 1} of {count:,} pictures ({(most + 1) / count:.2%}; at most 0.5% is accepted)"
    assert verdict.fault == f"int8 gives another label than the Keras model on {share}"


@pytest.mark.parametrize("known", [200, 400, 1000, 2000])
@pytest.mark.parametrize("right", [0.5, 0.85, 0.9, 0.995, 1.0])
def test_the_accuracy_may_fall_by_half_a_point_and_by_not_one_picture_more(known, right):
    # Most pictures show nobody knows what, so that the labels agree well enough, whatever becomes of the others.
    shown = np.where(np.arange(4000) < known, 0, -1)
    original = np.where(np.arange(4000) < round(right * known), 0, 1)
    reference, answering = of(two(original), shown)
    most = known // 200
    verdict = judge("int8", answering(two(flipped(original, most))), reference)
    assert verdict.fault is None
    assert verdict.parity.accuracy_change == pytest.approx(-0.005)
    assert verdict.accuracy == pytest.approx(right - 0.005)
    verdict = judge("int8", answering(two(flipped(original, most + 1))), reference)
    assert verdict.fault.startswith(f"int8 lowers the accuracy by {100 * (most + 1) / known:.2f} points (at most 0.5 ")
    assert verdict.fault.endswith(f"from {right:.4f} to {verdict.accuracy:.4f}")


def test_an_accuracy_that_rises_is_no_fault():
    shown = np.zeros(400, int)
    reference, answering = of(two(flipped(shown, 4)), shown)
    verdict = judge("fp16", answering(two(flipped(shown, 2))), reference)
    assert (verdict.fault, verdict.accuracy) == (None, 0.995)
    assert verdict.parity.accuracy_change == pytest.approx(0.005)


def test_labels_that_differ_and_are_as_often_right_are_a_fault_all_the_same():
    shown = np.arange(200) % 2
    wrong = flipped(shown, 2)
    reference, answering = of(two(wrong), shown)
    other = [1 - label if number in (2, 3) else label for number, label in enumerate(shown)]
    verdict = judge("int8", answering(two(other)), reference)
    assert verdict.parity.accuracy_change == 0
    assert "gives another label than the Keras model on 4 of 200" in verdict.fault


def test_where_nobody_knows_what_the_pictures_show_the_labels_are_compared_alone(gate):
    labels = np.arange(400) % 2
    reference, answering = of(two(labels))
    verdict = gate(answering(two(labels)), reference)
    assert (verdict.fault, verdict.accuracy, verdict.parity.accuracy_change) == (None, None, None)
    assert json.loads(json.dumps(verdict.parity.to_json()))["accuracy_change"] is None
    assert gate(answering(two(flipped(labels, 3))), reference).fault


def test_a_reduced_variant_may_be_far_off_in_its_probabilities():
    labels = np.arange(400) % 2
    reference, answering = of(two(labels, sure=0.95))
    verdict = judge("int8", answering(two(labels, sure=0.6)), reference)
    assert verdict.fault is None
    assert verdict.parity.max_difference == pytest.approx(0.35)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_reduced_variant_may_not_wander_from_one_batch_size_to_another(batch):
    labels = np.arange(400) % 2
    reference, answering = of(two(labels))
    much, less, usual = (answering(two(labels, sure)) for sure in (0.75, 0.85, 0.9))
    verdict = judge("int8", lambda sent: (much if len(sent) == batch else usual)(sent), reference)
    assert verdict.fault == f"int8 answers otherwise at batch {batch} than at {MANY}, by 0.15 in a probability"
    assert judge("int8", lambda sent: (less if len(sent) == batch else usual)(sent), reference).fault is None


@pytest.fixture(scope="module")
def pictures(encode):
    """300 encoded pictures of one size and many colours."""
    colours = np.random.default_rng(0).integers(0, 256, (300, 1, 1, 3), dtype=np.uint8)
    files = [encode(np.broadcast_to(colour, (4, 4, 3))) for colour in colours]
    return Pictures(files, [str(number) for number in range(300)], np.arange(300))


@pytest.fixture
def asked(pictures):
    """What a reference is made of, and the batches in which the original model was asked."""

    def made(count=300):
        batches = []

        def predict(pixels):
            batches.append(len(pixels))
            return linear(pixels)

        return Reference.of(predict, pictures.part(0, count), (4, 4, 3), "the model"), batches

    return made


def test_an_original_that_is_quick_is_asked_about_every_picture(asked, pictures):
    reference, batches = asked()
    assert (sum(batches), max(batches)) == (300, MANY)
    np.testing.assert_array_equal(reference.pixels, pictures.decode(4, 4, 3))
    np.testing.assert_allclose(reference.expected, linear(reference.pixels), atol=1e-6)
    np.testing.assert_array_equal(reference.classes, pictures.labels)
    assert reference.original == "the model"


def test_an_original_that_is_slow_is_asked_about_no_more_than_the_gate_needs(asked, pictures, monkeypatch):
    monkeypatch.setattr(parity, "SECONDS", 0.0)
    reference, batches = asked()
    assert LEAST <= sum(batches) < LEAST + MANY
    assert len(reference.pixels) == len(reference.expected) == len(reference.classes) == sum(batches)
    np.testing.assert_array_equal(reference.classes, pictures.labels[: sum(batches)])
    assert len(asked(100)[0].pixels) == 100


@pytest.mark.parametrize(("budget", "expected"), [(250, 250), (LEAST + 1, LEAST + 1), (10, LEAST)])
def test_large_pictures_are_as_many_as_memory_allows_yet_as_the_gate_needs(asked, monkeypatch, budget, expected):
    monkeypatch.setattr(parity, "MOST_BYTES", budget * 4 * 4 * 3)
    reference, batches = asked()
    assert len(reference.pixels) == len(reference.classes) == sum(batches) == expected


def test_accuracy_is_that_of_the_pictures_whose_class_is_known():
    reference, _ = of(two([0, 1, 1, 0]), [0, 0, -1, -1])
    assert reference.accuracy(reference.expected) == 0.5
    assert of(two([0, 1]), [-1, -1])[0].accuracy(reference.expected[:2]) is None
