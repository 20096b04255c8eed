import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from exporters import activation_map
from exporters.activation_map import Map
from exporters.to_onnx import open_onnx, write_onnx
from exporters.to_saved_model import prediction_function
from training.models import parts

SHAPE = (8, 12, 3)
CLASSES = 5
MAP, PROBABILITIES = "activation_map", "probabilities"


def features(image, **options):
    """Six maps of 4 by 6 places."""
    x = layers.Conv2D(6, 3, strides=2, padding="same", **options)(layers.Rescaling(1 / 255)(image))
    return layers.ReLU()(x)


def dense(x, **options):
    return layers.Dense(CLASSES, bias_initializer="random_normal", **options)(x)


ENDS = {
    "dense": lambda x: dense(layers.GlobalAveragePooling2D()(x)),
    "dense without bias": lambda x: dense(layers.GlobalAveragePooling2D()(x), use_bias=False),
    "dense after dropout": lambda x: dense(layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))),
    "dense after pooling that keeps dimensions": lambda x: dense(
        layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True)(x))
    ),
    "a map for each class": lambda x: layers.GlobalAveragePooling2D()(layers.Conv2D(CLASSES, 3, padding="same")(x)),
}
OTHER_ENDS = {
    "flattened features": lambda x: dense(layers.Flatten()(x)),
    "the largest of each map": lambda x: dense(layers.GlobalMaxPooling2D()(x)),
    "two dense layers": lambda x: dense(layers.Dense(4, activation="relu")(layers.GlobalAveragePooling2D()(x))),
    "normalised averages": lambda x: dense(layers.LayerNormalization()(layers.GlobalAveragePooling2D()(x))),
    "one place": lambda x: dense(layers.GlobalAveragePooling2D()(layers.Conv2D(6, (4, 6), activation="relu")(x))),
}


class Converted:
    """A Keras model, its logits, and the file that was made of it."""

    def __init__(self, end, folder):
        keras.utils.set_random_seed(0)
        image = parts.picture(SHAPE)
        logits = end(features(image))
        self.model = keras.Model(image, layers.Softmax(dtype="float32")(logits))
        self.logits = keras.Model(image, logits)
        self.path = folder / "model.onnx"
        self.map = write_onnx(prediction_function(self.model, SHAPE), self.path)

    def run(self, outputs, pixels):
        session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        return session.run(outputs, {"image": pixels})

    def bias(self):
        last = self.model.layers[-2]
        return last.bias.numpy() if getattr(last, "bias", None) is not None else 0


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """By name of the end; each is converted once."""
    done = {}

    def convert(name):
        if name not in done:
            done[name] = Converted({**ENDS, **OTHER_ENDS}[name], tmp_path_factory.mktemp("map"))
        return done[name]

    return convert


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (7, *SHAPE), np.uint8)


@pytest.mark.parametrize("name", ENDS)
def test_the_mean_over_the_places_and_the_bias_are_the_logits(converted, pixels, name):
    given = converted(name)
    assert given.map == Map(4, 6)
    for batch in (1, 7):
        looked, probabilities = given.run([MAP, PROBABILITIES], pixels[:batch])
        assert (looked.shape, looked.dtype) == ((batch, CLASSES, 4, 6), np.float32)
        logits = given.logits(pixels[:batch], training=False).numpy()
        np.testing.assert_allclose(looked.mean((2, 3)) + given.bias(), logits, atol=1e-5)
        np.testing.assert_allclose(probabilities, given.model(pixels[:batch], training=False).numpy(), atol=1e-6)
        assert looked.std((2, 3)).min() > 1e-3, "a map that is the same everywhere shows nothing"


def test_a_map_shows_where_something_is(converted):
    given = converted("dense")
    (before, after) = (np.full((1, *SHAPE), 90, np.uint8) for _ in range(2))
    after[0, 6:, 8:] = 250
    changed = np.abs(given.run([MAP], after)[0] - given.run([MAP], before)[0]).max((0, 1)) > 1e-4
    assert changed[3, 4:].all()
    assert not changed[:2].any()
    assert not changed[:, :3].any()


def test_classes_that_do_not_exclude_each_other_have_no_map(tmp_path):
    image = parts.picture(SHAPE)
    model = keras.Model(image, layers.Activation("sigmoid")(dense(layers.GlobalAveragePooling2D()(features(image)))))
    path = tmp_path / "model.onnx"
    assert write_onnx(prediction_function(model, SHAPE), path) is None
    assert [each.name for each in onnx.load(path).graph.output] == [PROBABILITIES]


@pytest.mark.parametrize("name", OTHER_ENDS)
def test_where_no_map_can_be_had_none_is_added(converted, pixels, name):
    given = converted(name)
    assert given.map is None
    assert [each.name for each in onnx.load(given.path).graph.output] == [PROBABILITIES]
    expected = given.model(pixels, training=False).numpy()
    np.testing.assert_allclose(open_onnx(given.path)(pixels), expected, atol=1e-6)


def test_a_sigmoid_unit_has_no_map_for_each_class(tmp_path):
    image = parts.picture(SHAPE)
    model = keras.Model(image, parts.sigmoid(layers.GlobalAveragePooling2D()(features(image)), 2))
    path = tmp_path / "model.onnx"
    assert write_onnx(prediction_function(model, SHAPE), path) is None
    assert [each.name for each in onnx.load(path).graph.output] == [PROBABILITIES]


def test_the_map_is_one_more_node_and_no_other_changes(converted):
    with_map = onnx.load(converted("dense").path)
    without = by_hand(4)
    before = [node.SerializeToString() for node in without.graph.node]
    assert activation_map.add(without) == Map(4, 6)
    assert [node.SerializeToString() for node in without.graph.node][:-1] == before
    assert [node.name for node in with_map.graph.node].count(activation_map.NODE) == 1
    assert [each.name for each in with_map.graph.output] == [PROBABILITIES, MAP]


def by_hand(height, *, columns=6):
    """The end of a graph whose features have as many rows as are given; "rows" for any number."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, columns, 3])
    output = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", CLASSES])
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["first"], ["features"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "kernel", "bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], [PROBABILITIES]),
    ]
    rng = np.random.default_rng(0)
    kernel = numpy_helper.from_array(rng.normal(size=(CLASSES, 3)).astype(np.float32) / 99, "kernel")
    bias = numpy_helper.from_array(rng.normal(size=CLASSES).astype(np.float32), "bias")
    graph = helper.make_graph(nodes, "by hand", [image], [output], [kernel, bias])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_kernel_that_is_stored_the_other_way_round_is_read_so():
    model = by_hand(4)
    assert activation_map.add(model) == Map(4, 6)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)
    looked, probabilities = session.run([MAP, PROBABILITIES], {"image": pixels})
    powers = np.exp(looked.mean((2, 3)) + numpy_helper.to_array(model.graph.initializer[1]))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), probabilities, atol=1e-5)


def test_features_of_any_size_have_no_map():
    model = by_hand("rows")
    before = model.SerializeToString()
    assert activation_map.add(model) is None
    assert model.SerializeToString() == before
