import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from artifacts.errors import ParityFailed
from exporters import variants
from exporters.parity import Reference, prove
from exporters.to_onnx import open_onnx
from exporters.variants import EVERYTHING, NO_TRAINING_PICTURES, Order, base, measure, reduce

SHAPE = (6, 8, 3)
RNG = np.random.default_rng(0)
PLACES, MAPS = 4, 8


def alike(count):
    """Pictures of four blocks, one of which is bright, each in turn; under noise."""
    bright = np.eye(PLACES)[np.arange(count) % PLACES].reshape(count, 2, 2, 1).repeat(3, 1).repeat(4, 2)
    return (60 + 120 * bright + RNG.integers(-40, 41, (count, *SHAPE))).astype(np.uint8)


PICTURES, TRAINING = alike(800), alike(48)
KERNEL = RNG.uniform(0, 1 / 4000, (MAPS, 3, 3, 4))
# With them there are layers that are next to neither end.
SECOND, THIRD = np.eye(MAPS)[:, :, None, None] + RNG.normal(size=(2, MAPS, MAPS, 1, 1)) / 10
FEATURES = [
    helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
    helper.make_node("Cast", ["first"], ["floats"], to=TensorProto.FLOAT),
    helper.make_node("Conv", ["floats", "kernel"], ["features"], strides=[3, 4]),
    helper.make_node("Relu", ["features"], ["active"]),
    helper.make_node("Conv", ["active", "second"], ["more"]),
    helper.make_node("Relu", ["more"], ["more_active"]),
    helper.make_node("Conv", ["more_active", "third"], ["most"]),
    helper.make_node("Flatten", ["most"], ["flat"], axis=1),
]
ANSWER = [
    helper.make_node("Gemm", ["flat", "dense", "bias"], ["logits"]),
    helper.make_node("Softmax", ["logits"], ["probabilities"]),
]
DIVIDED = [
    helper.make_node("Gemm", ["flat", "dense", "bias"], ["times"]),
    helper.make_node("Mul", ["times", "apart"], ["small"]),
    helper.make_node("Sub", ["near", "one"], ["difference"]),
    helper.make_node("Div", ["small", "difference"], ["logits"]),
    helper.make_node("Softmax", ["logits"], ["probabilities"]),
]


def graph(nodes, output, width, **constants):
    constants = {"kernel": KERNEL, "second": SECOND, "third": THIRD, **constants}
    values = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *SHAPE])
    answer = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])
    made = helper.make_graph(nodes, "by hand", [image], [answer], values)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def features():
    """What the last layer meets, (N, features)."""
    session = onnxruntime.InferenceSession(graph(FEATURES, "flat", PLACES * MAPS).SerializeToString())
    return session.run(["flat"], {"image": PICTURES})[0]


def near_ties():
    """A kernel of two classes that differ by so little, and by so little of a picture, that who rounds has to guess."""
    noise = RNG.normal(size=PLACES * MAPS)
    blocks = np.stack([features()[number::PLACES].mean(0) for number in range(PLACES)])
    return np.stack([CLEAR[:, 0], CLEAR[:, 0] + 1e-3 * (noise - np.linalg.pinv(blocks) @ blocks @ noise)], 1)


CLEAR = np.tile(np.eye(PLACES), (MAPS, 1)) * 2  # by which the brightest block is the class
NEAR_TIES = near_ties()


def network(folder, kernel, end=ANSWER):
    """A classifier in fp32, with this kernel in its last layer."""
    constants = {"near": 1 + 1e-4, "one": 1, "apart": 1e-4} if end is DIVIDED else {}
    bias = -features().mean(0) @ kernel
    model = graph([*FEATURES, *end], "probabilities", kernel.shape[1], dense=kernel, bias=bias, **constants)
    onnx.save(model, folder / "model.onnx")


def reference_of(folder, classes=None):
    """400 pictures on which full precision need not guess, on whatever processor."""
    answers = open_onnx(folder / "model.onnx")(PICTURES)
    first, second = np.sort(answers, 1)[:, :-3:-1].T
    chosen = np.flatnonzero(first - second > 1e-6)[:400]
    classes = np.full(len(PICTURES), -1) if classes is None else classes
    return Reference(PICTURES[chosen], answers[chosen], classes[chosen])


class Reduced:
    """What became of a network."""

    def __init__(self, folder, order=EVERYTHING, training=TRAINING, classes=None, **options):
        network(folder, **options)
        self.folder, self.said = folder, []
        self.reference = reference_of(folder, classes)
        entry = base(order, prove(self.reference, {"ONNX": open_onnx(folder / "model.onnx")}))
        result = reduce(folder, entry, order, self.reference, training, self.said.append)
        self.made, self.left_out = result.made, result.left_out

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())

    def agreement(self, name):
        """Of the file that lies there."""
        got = open_onnx(self.folder / self.made[name]["file"])(self.reference.pixels)
        return (got.argmax(1) == self.reference.expected.argmax(1)).mean()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A network of clear answers, in every precision."""
    return Reduced(tmp_path_factory.mktemp("whole"), kernel=CLEAR)


def test_every_precision_of_a_network_of_clear_answers_is_made(whole):
    assert (list(whole.made), whole.left_out) == (["fp32", "fp16", "int8"], {})
    assert whole.files() == ["model.fp16.onnx", "model.int8.onnx", "model.onnx"]
    for name, entry in whole.made.items():
        assert entry["file"] == variants.FILES[name]
        assert entry["parity"]["pictures"] == 400
        assert entry["parity"]["agreement"] == pytest.approx(whole.agreement(name))
        assert entry["parity"]["agreement"] >= 0.995
        assert (entry["accuracy"], entry["parity"]["accuracy_change"]) == (None, None)
        assert "allowed" not in entry
        assert ("float_layers" in entry) == (name == "int8")
    assert whole.made["fp32"]["parity"]["max_difference"] < whole.made["fp16"]["parity"]["max_difference"]
    assert json.loads(json.dumps(whole.made)) == whole.made


def test_it_is_told_what_is_done(whole):
    assert whole.said == [
        "writing fp16, and judging it",
        "writing int8, calibrated by 48 training pictures, and judging it",
    ]


def test_the_accuracy_of_each_is_that_of_the_file(tmp_path):
    shown = np.arange(len(PICTURES)) % PLACES
    shown[:100] = (shown[:100] + 1) % PLACES
    given = Reduced(tmp_path, kernel=CLEAR, classes=shown)
    for entry in given.made.values():
        right = (open_onnx(tmp_path / entry["file"])(PICTURES[:400]).argmax(1) == shown[:400]).mean()
        assert entry["accuracy"] == pytest.approx(right)
        assert entry["parity"]["accuracy_change"] == pytest.approx(right - 0.75)


@pytest.mark.parametrize("precisions", [("fp32",), ("fp32", "fp16"), ("fp32", "int8")])
def test_only_what_is_asked_for_is_made(tmp_path, precisions):
    given = Reduced(tmp_path, Order(precisions), kernel=CLEAR)
    assert (tuple(given.made), given.left_out) == (precisions, {})
    assert given.files() == sorted(variants.FILES[name] for name in precisions)


def test_without_training_pictures_int8_is_left_out_with_the_reason(tmp_path):
    given = Reduced(tmp_path, training=None, kernel=CLEAR)
    assert list(given.made) == ["fp32", "fp16"]
    assert given.left_out == {"int8": NO_TRAINING_PICTURES}
    assert given.files() == ["model.fp16.onnx", "model.onnx"]
    assert Reduced(tmp_path, Order(("fp32",)), None, kernel=CLEAR).left_out == {}


def test_what_fails_is_left_out_with_the_reason_and_its_file_is_gone(tmp_path):
    given = Reduced(tmp_path, kernel=NEAR_TIES)
    assert list(given.made) == ["fp32"]
    assert given.files() == ["model.onnx"]
    assert list(given.left_out) == ["fp16", "int8"]
    for name, reason in given.left_out.items():
        assert reason.startswith(f"{name} gives another label than the Keras model on ")
        assert reason.endswith("of 400 pictures (" + reason.partition("(")[2])
        assert "at most 0.5% is accepted" in reason
    assert len(given.said) > 4, "each attempt that failed is told"


def test_what_is_allowed_stays_and_it_is_recorded_why_it_failed(tmp_path):
    given = Reduced(tmp_path, Order(exceptions=("int8",)), kernel=NEAR_TIES)
    assert list(given.made) == ["fp32", "int8"]
    assert list(given.left_out) == ["fp16"]
    assert given.files() == ["model.int8.onnx", "model.onnx"]
    entry = given.made["int8"]
    assert entry["allowed"].startswith("int8 gives another label than the Keras model on ")
    assert entry["parity"]["agreement"] == pytest.approx(given.agreement("int8"))
    assert entry["parity"]["agreement"] < 0.995


@pytest.mark.parametrize("order", [list, reversed])
def test_of_attempts_that_all_fail_the_one_that_agrees_most_is_what_is_allowed(tmp_path, monkeypatch, order):
    attempts = variants._attempts  # noqa: SLF001 - so that the best one is once the first, once the last
    monkeypatch.setattr(variants, "_attempts", lambda *given: order(list(attempts(*given))))
    given = Reduced(tmp_path, Order(("fp32", "int8"), ("int8",)), kernel=NEAR_TIES)
    failed = [float(said.partition("on ")[2].split()[0]) for said in given.said if "another label" in said]
    assert len(failed) >= 4
    assert min(failed) < max(failed)
    assert given.made["int8"]["parity"]["agreement"] == pytest.approx(1 - min(failed) / 400)
    assert given.agreement("int8") == pytest.approx(given.made["int8"]["parity"]["agreement"])


def test_an_exception_for_what_passes_leaves_no_mark(tmp_path):
    given = Reduced(tmp_path, Order(("fp32", "fp16"), ("fp16", "fp32")), kernel=CLEAR)
    assert not any("allowed" in entry for entry in given.made.values())


def test_calibration_that_has_nothing_to_do_with_the_pictures_is_found_out(tmp_path):
    given = Reduced(tmp_path, Order(("fp32", "int8")), TRAINING // 200, kernel=CLEAR)
    assert "int8" in given.left_out
    assert given.files() == ["model.onnx"]


@pytest.mark.parametrize("exceptions", [(), ("fp16", "int8")])
def test_what_is_no_number_is_never_allowed(tmp_path, exceptions):
    # In half 1.0001 is 1, so that the logits are divided by nothing.
    given = Reduced(tmp_path, Order(("fp32", "fp16"), exceptions), kernel=CLEAR, end=DIVIDED)
    assert list(given.made) == ["fp32"]
    assert given.left_out["fp16"].startswith("fp16 answers with what is no number at batch 1")
    assert given.files() == ["model.onnx"]


@pytest.mark.parametrize("exceptions", [(), ("int8",)])
def test_what_cannot_be_made_is_left_out_with_what_the_library_said(tmp_path, exceptions):
    given = Reduced(tmp_path, Order(("fp32", "int8"), exceptions), TRAINING[:, :, :4], kernel=CLEAR)
    assert list(given.made) == ["fp32"]
    assert given.left_out["int8"].startswith("it cannot be made of this graph (")
    assert "image" in given.left_out["int8"]
    assert given.files() == ["model.onnx"]


def test_a_disk_that_cannot_be_read_is_no_reason_to_leave_anything_out(tmp_path):
    network(tmp_path, CLEAR)
    reference = reference_of(tmp_path)
    (tmp_path / "model.onnx").unlink()
    for precisions in (("fp32", "fp16"), ("fp32", "int8")):
        with pytest.raises(FileNotFoundError):
            reduce(tmp_path, {}, Order(precisions), reference, TRAINING, lambda _: None)


def off_by(difference):
    def predict(pixels):
        answers = np.tile(np.array([[0.7, 0.3]], np.float32), (len(pixels), 1))
        answers[:, 0] -= difference
        return answers

    return prove(Reference(PICTURES, answers_of(0), np.zeros(len(PICTURES), int)), {"ONNX": predict})


def answers_of(difference):
    return np.tile(np.array([[0.7 - difference, 0.3]], np.float32), (len(PICTURES), 1))


def test_full_precision_that_passes_is_the_first_entry():
    entry = base(EVERYTHING, off_by(0))
    assert (entry["file"], entry["accuracy"], entry["parity"]["tolerance"]) == ("model.onnx", 1.0, 1e-4)
    assert "allowed" not in entry


@pytest.mark.parametrize("exceptions", [(), ("fp16", "int8")])
def test_full_precision_that_fails_publishes_nothing(exceptions):
    with pytest.raises(ParityFailed, match=r"ONNX differs from the Keras model at batch 1: .*; nothing was published"):
        base(Order(exceptions=exceptions), off_by(0.01))


def test_full_precision_that_fails_may_be_allowed_and_that_is_recorded():
    verdict = off_by(0.01)
    entry = base(Order(exceptions=("fp32",)), verdict)
    assert entry["allowed"] == verdict.fault
    assert entry["allowed"].startswith("ONNX differs from the Keras model")


def test_every_variant_is_measured(whole):
    fp16 = variants.Variants({"fp16": dict(whole.made["fp16"])})
    said = []
    measure(whole.folder, SHAPE, fp16, said.append)
    entry = fp16.made["fp16"]
    assert said == ["measuring fp16"]
    assert entry["bytes"] == (whole.folder / "model.fp16.onnx").stat().st_size
    assert entry["images_per_second"] > 0
    assert entry["best_batch"] >= 1
    assert {point["threads"] for point in entry["profile"]} >= {1}
    assert entry["parity"] == whole.made["fp16"]["parity"]
