import warnings

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from exporters.half import write_half
from exporters.to_onnx import open_onnx, write_onnx
from exporters.to_saved_model import prediction_function
from training.models import parts

SHAPE = (8, 12, 3)
NUMBERS = {TensorProto.FLOAT: "float", TensorProto.FLOAT16: "half"}


def _features(image):
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    return layers.ReLU()(layers.BatchNormalization(moving_mean_initializer="random_normal")(x))


def softmax(image):
    return parts.softmax(layers.GlobalAveragePooling2D()(_features(image)), 5)


def sigmoid(image):
    return parts.sigmoid(layers.Flatten()(_features(image)), 2)


def swish(image):
    """A sigmoid inside of a network is no probability."""
    return parts.softmax(layers.Flatten()(layers.Activation("silu")(_features(image))), 5)


class Halved:
    """A model in both precisions."""

    def __init__(self, build, folder):
        keras.utils.set_random_seed(0)
        image = parts.picture(SHAPE)
        model = keras.Model(image, build(image))
        self.full, self.half = folder / "model.onnx", folder / "model.fp16.onnx"
        write_onnx(prediction_function(model, SHAPE), self.full)
        write_half(self.full, self.half)
        self.model = onnx.load(self.half, load_external_data=False)

    def type(self, operation):
        """What the only node of an operation computes in."""
        known = onnx.shape_inference.infer_shapes(self.model).graph
        types = {each.name: each.type.tensor_type.elem_type for each in (*known.value_info, *known.output)}
        (node,) = (node for node in self.model.graph.node if node.op_type == operation)
        return NUMBERS[types[node.output[0]]]


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """By how a model is built; each is made once."""
    done = {}

    def half(build):
        if build not in done:
            done[build] = Halved(build, tmp_path_factory.mktemp("half"))
        return done[build]

    return half


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (9, *SHAPE), np.uint8)


@pytest.mark.parametrize("build", [softmax, sigmoid, swish])
def test_half_answers_nearly_as_full_precision_does(halved, pixels, build):
    given = halved(build)
    expected = open_onnx(given.full)(pixels)
    for batch in (1, 4, 9):
        got = open_onnx(given.half)(pixels[:batch])
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected[:batch], atol=2e-3)
    assert not np.array_equal(got, expected), "nothing was computed in half"


@pytest.mark.parametrize("build", [softmax, sigmoid, swish])
def test_pictures_go_in_as_bytes_and_every_output_comes_out_as_float(halved, build):
    full, half = onnx.load(halved(build).full), halved(build).model
    assert [each.SerializeToString() for each in half.graph.input] == [
        each.SerializeToString() for each in full.graph.input
    ]
    assert {each.name: each.type.tensor_type.elem_type for each in half.graph.output} == {
        each.name: TensorProto.FLOAT for each in full.graph.output
    }
    assert [(each.domain, each.version) for each in half.opset_import] == [("", 17)]
    assert [each.name for each in halved(build).half.parent.iterdir() if "fp16" in each.name] == ["model.fp16.onnx"]


def test_every_weight_is_stored_in_half(halved):
    given = halved(softmax)
    weights = [each.data_type for each in given.model.graph.initializer if each.data_type in NUMBERS]
    assert weights == [TensorProto.FLOAT16] * len(weights)
    assert len(weights) >= 4
    assert given.type("GlobalAveragePool") == given.type("MatMul") == "half"


@pytest.mark.parametrize(("build", "last"), [(softmax, ["Softmax"]), (sigmoid, ["Sigmoid", "Concat"])])
def test_probabilities_keep_their_digits(halved, pixels, build, last):
    given = halved(build)
    for operation in last:
        assert given.type(operation) == "float"
    got = open_onnx(given.half)(pixels)
    assert np.abs(got.sum(1) - 1).max() < 1e-6
    rounded = got.astype(np.float16).astype(np.float32)
    assert (got != rounded).mean() > 0.9, "they were rounded to half on their way out"


def test_a_sigmoid_inside_of_a_network_is_half(halved):
    given = halved(swish)
    assert (given.type("Sigmoid"), given.type("Softmax")) == ("half", "float")


def test_the_activation_map_is_there_too(halved, pixels):
    given = halved(softmax)
    sessions = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (given.full, given.half)
    )
    full, half = (session.run(["activation_map"], {"image": pixels})[0] for session in sessions)
    assert (half.dtype, half.shape) == (np.float32, (9, 5, 4, 6))
    np.testing.assert_allclose(half, full, atol=5e-3)


def by_hand(path, *nodes, **constants):
    """A file of a graph of pictures (N, 2, 2, 1) with these nodes before its probabilities; of an old opset."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 2, 2, 1])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 4])
    values = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    start = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["x"], axis=1),
    ]
    graph = helper.make_graph([*start, *nodes], "by hand", [image], [output], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)


PICTURES = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)


def test_a_constant_that_the_end_shares_with_the_rest_has_both_precisions(tmp_path):
    by_hand(
        tmp_path / "full.onnx",
        helper.make_node("Mul", ["x", "tenth"], ["small"]),
        helper.make_node("MatMul", ["small", "kernel"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["p"]),
        helper.make_node("Mul", ["p", "tenth"], ["probabilities"]),
        tenth=0.1,
        kernel=np.eye(4),
    )
    write_half(tmp_path / "full.onnx", tmp_path / "half.onnx")
    expected, got = (open_onnx(tmp_path / name)(PICTURES) for name in ("full.onnx", "half.onnx"))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    types = sorted(each.data_type for each in onnx.load(tmp_path / "half.onnx").graph.initializer)
    assert types == [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.FLOAT16]


def test_a_weight_too_large_for_half_is_no_warning_for_the_answers_show_it(tmp_path):
    by_hand(
        tmp_path / "full.onnx",
        helper.make_node("MatMul", ["x", "large"], ["far"]),
        helper.make_node("MatMul", ["far", "small"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        large=np.eye(4) * 1e5,
        small=np.eye(4) * 1e-5,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_half(tmp_path / "full.onnx", tmp_path / "half.onnx")
    expected, got = (open_onnx(tmp_path / name)(PICTURES) for name in ("full.onnx", "half.onnx"))
    assert np.abs(got - expected).max() > 0.05
