import logging
from functools import partial

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from exporters import quantize
from exporters.activation_map import NODE as ACTIVATION_MAP_NODE
from exporters.graph import WEIGHTED, Graph
from exporters.quantize import Quantization
from exporters.to_onnx import open_onnx, write_onnx
from exporters.to_saved_model import prediction_function
from training.models import cnn, densenet, parts, resnet, y_network
from training.models.regularization import Regularization

SIZE = (12, 16)
COLOUR, GREY = (*SIZE, 3), (*SIZE, 1)


def large_first(shape, classes, *_):
    """Pooling behind the first layer, as ResNet50 has it, and no other layer but the last."""
    image = parts.picture(shape)
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(image))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return keras.Model(image, parts.softmax(layers.Flatten()(x), classes))


NETWORKS = {
    "resnet-v1": (partial(resnet.resnet_v1, depth=8), COLOUR, 5),
    "densenet": (partial(densenet.densenet_bc, depth=10, growth=4), COLOUR, 5),
    "y-network": (partial(y_network.y_network, filters=(4, 6)), COLOUR, 5),
    "sigmoid": (partial(cnn.pooled, filters=(4, 6), dense=(6,), one_unit=True), GREY, 2),
    "pooled": (large_first, COLOUR, 5),
}
WAYS = ("all_in_int8", "ends_in_float")


class Quantized:
    """A network, its file in fp32, and what is made of it."""

    def __init__(self, name, folder):
        build, self.shape, classes = NETWORKS[name]
        model = build(self.shape, classes, Regularization())
        rng = np.random.default_rng(0)
        for weight in model.weights:
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            elif weight.name in ("beta", "bias", "moving_mean"):
                weight.assign(rng.normal(0, 0.2, weight.shape))
        self.pixels = pictures(self.shape, 64)
        _decide(model, self.pixels)
        self.path = folder / "model.onnx"
        write_onnx(prediction_function(model, self.shape), self.path)
        self.quantization = Quantization(self.path, self.pixels[:48])
        self.made = {way: getattr(self.quantization, way)() for way in WAYS}
        self.more = list(self.quantization.more_in_float())


def _decide(model, pixels):
    """Let the last layer tell the pictures apart, as a trained one does."""
    last = next(layer for layer in reversed(model.layers) if layer.weights)
    features = keras.Model(model.input, last.input)(pixels, training=False).numpy()
    logits = features @ last.kernel.numpy()
    last.kernel.assign(last.kernel.numpy() * 2 / logits.std(0))
    last.bias.assign(-2 * logits.mean(0) / logits.std(0))


def pictures(shape, count):
    """Blocks under noise, uint8 (count, *shape)."""
    rng = np.random.default_rng(1)
    height, width, channels = shape
    blocks = rng.integers(0, 256, (count, height // 4, width // 4, channels)).repeat(4, 1).repeat(4, 2)
    return np.clip(blocks + rng.integers(-20, 21, (count, *shape)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """By name; each is made once."""
    keras.utils.set_random_seed(0)
    done = {}

    def made(name):
        if name not in done:
            done[name] = Quantized(name, tmp_path_factory.mktemp("int8"))
        return done[name]

    return made


def run(model, pixels, outputs=("probabilities",)):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(outputs), {"image": pixels})


def in_int8(model):
    """Names of the layers whose kernels are int8."""
    graph = Graph(model)
    kernels = {node.name: graph.makers.get(node.input[1]) for node in graph.nodes if node.op_type in WEIGHTED}
    return {name for name, maker in kernels.items() if maker is not None and maker.op_type == "DequantizeLinear"}


def in_float(model):
    """Names of the layers whose kernels are floats."""
    graph = Graph(model)
    return {node.name for node in graph.nodes if node.op_type in WEIGHTED and graph.value(node.input[1]) is not None}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_attempt_answers_nearly_as_full_precision_does(quantized, name):
    given = quantized(name)
    expected = open_onnx(given.path)(given.pixels)
    assert expected.std(0).min() > 0.01, "answers that are all the same prove nothing"
    for attempt in [*given.made.values(), *given.more]:
        (got,) = run(attempt.model, given.pixels)
        assert np.abs(got - expected).mean() < 0.04
        assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.95
        assert (got.argmax(1) == expected.argmax(1)).mean() > 0.8


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_and_outputs_are_those_of_full_precision(quantized, name):
    given = quantized(name)
    full = onnx.load(given.path)
    for attempt in [*given.made.values(), *given.more]:
        assert [(each.domain, each.version) for each in attempt.model.opset_import] == [("", 17)]
        assert attempt.model.ir_version == 8
        for field in ("input", "output"):
            sides = (
                [each.SerializeToString() for each in getattr(model.graph, field)] for model in (full, attempt.model)
            )
            assert next(sides) == next(sides)


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_are_int8_with_a_step_for_each_channel(quantized, name):
    given = quantized(name)
    model = given.made["all_in_int8"].model
    graph, before = Graph(model), Graph(quantize._named(onnx.load(given.path)))  # noqa: SLF001 - names by number
    plain = {node.name: node for node in before.nodes}
    layers_with_kernels = [node for node in graph.nodes if node.name in in_int8(model)]
    assert len(layers_with_kernels) == sum(
        node.op_type in WEIGHTED and node.name != ACTIVATION_MAP_NODE for node in before.nodes
    )
    for node in layers_with_kernels:
        dequantize = graph.makers[node.input[1]]
        kernel, steps, zeros = (graph.value(each) for each in dequantize.input)
        axis = next(each.i for each in dequantize.attribute if each.name == "axis")
        assert (kernel.dtype, steps.shape) == (np.int8, (kernel.shape[axis],))
        assert axis == (0 if node.op_type == "Conv" else 1)
        assert not zeros.any()
        shape = [1] * kernel.ndim
        shape[axis] = -1
        float_kernel = before.value(plain[node.name].input[1])
        steps = steps.reshape(shape)
        # Not the nearest step, for the outputs count: see exporters/rounding.py.
        assert np.abs(kernel * steps - float_kernel).max() < 8 * steps.max()
        assert np.corrcoef((kernel * steps).ravel(), float_kernel.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_quantized_is_always_dequantized_again(quantized, name, way):
    graph = Graph(quantized(name).made[way].model)
    pairs = 0
    for node in graph.nodes:
        if node.op_type == "QuantizeLinear":
            takers = [each for each in graph.nodes if node.output[0] in each.input]
            assert {each.op_type for each in takers} == {"DequantizeLinear"}
            assert all(list(each.input[1:]) == list(node.input[1:]) for each in takers)
            assert graph.value(node.input[2]).dtype == np.uint8
            pairs += 1
    assert pairs >= (0 if (name, way) == ("pooled", "ends_in_float") else 2), "of that one both layers are ends"


@pytest.mark.parametrize(("name", "first"), [("resnet-v1", 1), ("y-network", 2), ("sigmoid", 1)])
def test_pictures_are_taken_as_they_are(quantized, name, first):
    model = quantized(name).made["all_in_int8"].model
    graph = Graph(model)
    assert "Cast" not in [node.op_type for node in graph.nodes]
    layout = graph.only_taker("image")
    assert layout.op_type in ("Transpose", "Reshape")
    takers = [node for node in graph.nodes if layout.output[0] in node.input]
    for dequantize in takers:
        assert dequantize.op_type == "DequantizeLinear"
        step, zero = (graph.value(each) for each in dequantize.input[1:])
        assert (step, zero, zero.dtype) == (1, 0, np.uint8)
    given = {node.output[0] for node in takers}
    assert sum(node.op_type == "Conv" and node.input[0] in given for node in graph.nodes) == first


@pytest.mark.parametrize(("name", "ends"), [("resnet-v1", 2), ("y-network", 3), ("pooled", 2)])
def test_the_layers_next_to_the_ends_are_left_in_float(quantized, name, ends):
    given = quantized(name)
    attempt = given.made["ends_in_float"]
    graph = Graph(attempt.model)
    assert len(attempt.in_float) == ends
    assert set(attempt.in_float) == in_float(attempt.model) - {ACTIVATION_MAP_NODE}
    *first, last = (node for node in graph.nodes if node.name in attempt.in_float)
    for node in first:
        maker = graph.makers[node.input[0]]
        assert maker.op_type == "Cast", "the pictures were quantized after all"
    assert last.op_type in ("Gemm", "MatMul")
    assert graph.only_taker(last.output[0]).op_type == "Softmax"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_float_or_int8_as_it_is_said(quantized, name, way):
    attempt = quantized(name).made[way]
    assert set(attempt.in_float) == in_float(attempt.model) - {ACTIVATION_MAP_NODE}
    if way == "all_in_int8":
        assert attempt.in_float == []


@pytest.mark.parametrize("name", NETWORKS)
def test_every_further_attempt_leaves_more_in_float(quantized, name):
    given = quantized(name)
    count = len(in_int8(given.made["all_in_int8"].model))
    sets = [set(given.made["ends_in_float"].in_float)]
    for attempt in given.more:
        assert set(attempt.in_float) == in_float(attempt.model) - {ACTIVATION_MAP_NODE}
        assert sets[-1] <= set(attempt.in_float)
        sets.append(set(attempt.in_float))
    assert len(sets[-1]) >= count / 2
    if count > 8:
        assert len(sets[0]) < len(sets[-1]) < count


def test_the_first_layers_are_those_that_come_first(quantized):
    given = quantized("resnet-v1")
    attempt = given.more[-1]
    numbers = sorted(int(name.split(":")[0]) for name in attempt.in_float)
    others = [int(name.split(":")[0]) for name in in_int8(attempt.model)]
    *first, last = numbers
    assert max(first) < min(others)
    assert last > max(others)


def test_pooling_before_relu_is_the_same_function(quantized):
    # Of this network both layers are ends, so that nothing is quantized, and what remains is the change of places.
    given = quantized("pooled")
    attempt = given.made["ends_in_float"]
    operations = [node.op_type for node in attempt.model.graph.node]
    assert operations.index("MaxPool") < operations.index("Relu")
    before = [node.op_type for node in onnx.load(given.path).graph.node]
    assert before.index("MaxPool") > before.index("Relu")
    assert sorted(operations) == sorted(before)
    np.testing.assert_array_equal(run(attempt.model, given.pixels)[0], open_onnx(given.path)(given.pixels))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["resnet-v1", "densenet"])
def test_the_activation_map_is_a_float_layer_of_every_attempt(quantized, name, way):
    given = quantized(name)
    model = given.made[way].model
    graph = Graph(model)
    (node,) = (node for node in graph.nodes if node.name == ACTIVATION_MAP_NODE)
    assert graph.value(node.input[1]).dtype == np.float32
    assert node.name not in given.made[way].in_float
    outputs = ("activation_map", "probabilities")
    looked, _ = run(model, given.pixels, outputs)
    expected, _ = run(onnx.load(given.path), given.pixels, outputs)
    assert looked.shape == expected.shape
    assert np.corrcoef(looked.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("way", WAYS)
def test_the_probabilities_of_a_sigmoid_unit_have_all_their_digits(quantized, way):
    given = quantized("sigmoid")
    (got,) = run(given.made[way].model, given.pixels)
    assert np.abs(got.sum(1) - 1).max() < 1e-6
    assert np.abs(got * 255 - np.round(got * 255)).max() > 0.1, "they come in 256 steps"


def test_attempts_do_not_touch_each_other(quantized):
    given = quantized("y-network")
    first = given.made["all_in_int8"].model.SerializeToString(deterministic=True)
    assert given.quantization.all_in_int8().model.SerializeToString(deterministic=True) == first


def test_no_more_pictures_are_looked_at_than_allowed(quantized, monkeypatch):
    given = quantized("y-network")
    monkeypatch.setattr(quantize, "MOST_VALUES", 0)
    dark, light = given.pixels // 8, given.pixels
    few, more = (
        Quantization(given.path, pixels).all_in_int8().model.SerializeToString(deterministic=True)
        for pixels in (dark[:32], np.concatenate([dark[:32], light]))
    )
    assert few == more
    monkeypatch.setattr(quantize, "MOST_VALUES", 10_000_000)
    all_seen = Quantization(given.path, np.concatenate([dark[:32], light])).all_in_int8()
    assert all_seen.model.SerializeToString(deterministic=True) != few


def test_nothing_is_printed_and_logging_is_as_before(quantized, capfd, caplog):
    given = quantized("y-network")
    capfd.readouterr()  # what TensorFlow says of itself when the first network of a process is built
    before = logging.root.manager.disable
    Quantization(given.path, given.pixels).ends_in_float()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.root.manager.disable == before


@pytest.mark.parametrize(("opset", "version"), [(7, 3), (9, 4), (11, 6), (12, 7), (13, 7), (21, 10)])
def test_a_graph_of_another_opset_is_quantized_too(tmp_path, opset, version):
    rng = np.random.default_rng(0)
    constants = {"kernel": rng.normal(size=(6, 3, 3, 3)) / 300, "dense": rng.normal(size=(6, 5)), "bias": np.ones(5)}
    values = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    nodes = [
        helper.make_node("Transpose", ["image"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["t"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "kernel"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("GlobalAveragePool", ["z"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "dense", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *COLOUR])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5])
    listed = [helper.make_tensor_value_info(each.name, TensorProto.FLOAT, each.dims) for each in values]
    inputs = [image, *listed] if version < 4 else [image]
    graph = helper.make_graph(nodes, "by hand", inputs, [output], values)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version), path)
    pixels = pictures(COLOUR, 40)
    attempt = Quantization(path, pixels).all_in_int8()
    assert len(in_int8(attempt.model)) == 2
    np.testing.assert_allclose(run(attempt.model, pixels)[0], open_onnx(path)(pixels), atol=0.05)
