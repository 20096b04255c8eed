from collections import Counter
from functools import partial

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from exporters.activation_map import NODE as ACTIVATION_MAP_NODE
from exporters.graph import optimised, shapes
from exporters.to_onnx import open_onnx, write_onnx
from exporters.to_saved_model import prediction_function
from training.models import applications, cnn, densenet, mlp, parts, resnet, y_network
from training.models.regularization import Regularization

SIZE = (12, 16)  # not square, so that the order of rows and columns shows
CLASSES = 5
POSITIVE = ("gamma", "moving_variance")


def _padded(image, preprocess):
    """A network in which what surrounds a picture counts."""
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(preprocess(image))
    return keras.Model(image, parts.softmax(layers.Flatten()(x), CLASSES))


def padded(preprocess, shape, *_):
    return _padded(parts.picture(shape), preprocess)


def normalised(shape, *_):
    normalization = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[900.0, 800.0, 700.0])
    return _padded(parts.picture(shape), normalization)


def shared_kernel(shape, *_):
    """One convolution of the pictures and of what was made of them."""
    image = parts.picture(shape)
    convolution = layers.Conv2D(shape[2], 3, padding="same", activation="relu")
    x = convolution(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, parts.softmax(layers.Flatten()(convolution(x)), CLASSES))


def standardised_rows(shape, *_):
    """A dense layer of rows: no convolution, and no features of four dimensions."""
    image = parts.picture(shape)
    x = layers.Reshape((shape[0], shape[1] * shape[2]))(layers.Rescaling(1 / 255, -0.5)(image))
    x = layers.BatchNormalization()(layers.Dense(6)(x))
    return keras.Model(image, parts.softmax(layers.Flatten()(x), CLASSES))


# Each family of the presets at its least depth.
FAMILIES = {
    "mlp": partial(mlp.mlp, hidden=(8,), dropout=(0.0,)),
    "cnn": partial(cnn.pooled, filters=(4, 8), dropout=0.3, dense=(6,)),
    "cnn-stride2-bn": partial(cnn.strided, filters=(4, 6), batch_norm=True),
    "y-network": partial(y_network.y_network, filters=(4, 6)),
    "resnet-v1": partial(resnet.resnet_v1, depth=8),
    "resnet-v2": partial(resnet.resnet_v2, depth=11),
    "densenet-bc": partial(densenet.densenet_bc, depth=10, growth=4),
}
COLOUR = {
    "caffe": partial(padded, applications.caffe),
    "minus one to one": partial(padded, applications.minus_one_to_one),
    "torch": partial(padded, applications.torch),
    "normalised": normalised,
    "shared kernel": shared_kernel,
    "rows": standardised_rows,
}
GREY = ("mlp", "cnn", "y-network", "densenet-bc")
ALL = [*((name, 3) for name in (*FAMILIES, *COLOUR)), *((name, 1) for name in GREY)]
# Before these normalisations there is no convolution to fold them into.
STANDING = {"resnet-v2": 3, "densenet-bc": 6}


def as_trained(model):
    """The model with values in every place where a fresh one has zeros and ones."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in POSITIVE:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "bias", "moving_mean"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


class Converted:
    """A Keras model and the file that was made of it."""

    def __init__(self, build, channels, folder):
        self.shape = (*SIZE, channels)
        self.model = as_trained(build(self.shape, CLASSES, Regularization()))
        self.path = folder / "model.onnx"
        write_onnx(prediction_function(self.model, self.shape), self.path)
        self.onnx = onnx.load(self.path, load_external_data=False)
        self.operations = Counter(node.op_type for node in self.onnx.graph.node if node.name != ACTIVATION_MAP_NODE)

    def kernel(self, shape):
        """The constant of this shape."""
        (found,) = (each for each in self.onnx.graph.initializer if tuple(each.dims) == shape)
        return numpy_helper.to_array(found)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """By name and channels; each is converted once."""
    keras.utils.set_random_seed(0)
    done = {}

    def convert(name, channels):
        if (name, channels) not in done:
            build = {**FAMILIES, **COLOUR}[name]
            done[name, channels] = Converted(build, channels, tmp_path_factory.mktemp("graph"))
        return done[name, channels]

    return convert


@pytest.mark.parametrize(("name", "channels"), ALL)
def test_the_graph_answers_as_the_keras_model_at_any_batch(converted, name, channels):
    given = converted(name, channels)
    pixels = np.random.default_rng(1).integers(0, 256, (9, *given.shape), np.uint8)
    expected = given.model(pixels, training=False).numpy()
    predict = open_onnx(given.path)
    for batch in (1, 4, 9):
        np.testing.assert_allclose(predict(pixels[:batch]), expected[:batch], atol=1e-5)


@pytest.mark.parametrize(("name", "channels"), ALL)
def test_the_file_is_plain_onnx_of_one_opset_in_one_piece(converted, name, channels):
    given = converted(name, channels)
    assert [(each.domain, each.version) for each in given.onnx.opset_import] == [("", 17)]
    assert (given.onnx.ir_version, len(given.onnx.functions)) == (8, 0)
    assert {node.domain for node in given.onnx.graph.node} == {""}
    assert not any(each.external_data or each.data_location for each in given.onnx.graph.initializer)
    assert [each.name for each in given.path.parent.iterdir()] == ["model.onnx"]
    onnx.checker.check_model(given.onnx, full_check=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_in_colour_are_transposed_once_and_as_bytes(converted, name):
    given = converted(name, 3)
    assert given.operations["Transpose"] == (0 if name == "mlp" else 1)
    first = given.onnx.graph.node[0]
    assert first.op_type == ("Reshape" if name == "mlp" else "Transpose")
    assert first.input[0] == "image"


@pytest.mark.parametrize("name", GREY)
def test_grey_pictures_are_never_transposed(converted, name):
    assert converted(name, 1).operations["Transpose"] == 0


@pytest.mark.parametrize("name", [name for name in COLOUR if name not in ("caffe", "rows")])
def test_other_preprocessing_transposes_the_bytes_too(converted, name):
    given = converted(name, 3)
    assert given.operations["Transpose"] == 1
    assert given.onnx.graph.node[0].op_type == "Transpose"


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_left_that_could_be_computed_before(converted, name):
    given = converted(name, 3)
    needed = {"Transpose", "Reshape", "Cast", "Conv", "Relu", "Add", "Concat", "BatchNormalization", "MatMul", "Gemm"}
    needed |= {"MaxPool", "AveragePool", "GlobalAveragePool", "Squeeze", "Flatten", "Softmax"}
    needed |= {"Mul"} if name == "densenet-bc" else set()  # the pictures are an output of its first block as well
    assert given.operations.keys() <= needed
    assert given.operations["BatchNormalization"] == STANDING.get(name, 0)
    assert given.operations["Mul"] == ("Mul" in needed)
    weighted = sum(len(layer.weights) > 0 for layer in given.model.layers)
    normalised = sum(isinstance(layer, layers.BatchNormalization) for layer in given.model.layers)
    assert given.operations["Conv"] + given.operations["Gemm"] == weighted - normalised
    names = Counter(name for node in given.onnx.graph.node for name in node.input)
    assert all(names[each.name] for each in given.onnx.graph.initializer), "a constant that nobody takes"


@pytest.mark.parametrize(("name", "adds"), [("resnet-v1", 3), ("resnet-v2", 3), ("cnn", 0), ("densenet-bc", 0)])
def test_no_normalisation_is_left_as_a_sum(converted, name, adds):
    assert converted(name, 3).operations["Add"] == adds


def test_flattened_features_are_not_put_in_another_order_at_each_request(converted):
    given = converted("cnn", 3)
    operations = [node.op_type for node in given.onnx.graph.node]
    after = operations.index("Flatten")
    assert operations[after - 1 : after + 2] == ["Relu", "Flatten", "Gemm"]
    dense = next(layer for layer in given.model.layers if isinstance(layer, layers.Dense))
    kernel = dense.kernel.numpy()
    turned = kernel.reshape(3, 5, 8, 6).transpose(2, 0, 1, 3).reshape(120, 6)
    np.testing.assert_array_equal(given.kernel((120, 6)), turned)
    assert not np.array_equal(turned, kernel)


def _first_kernel(given):
    """As Keras has it, in ONNX's order."""
    first = next(layer for layer in given.model.layers if layer.weights)
    kernel = first.kernel.numpy()
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel


@pytest.mark.parametrize(("name", "shape"), [("cnn", (4, 3, 3, 3)), ("mlp", (576, 8))])
def test_the_first_kernel_is_scaled_instead_of_the_pictures(converted, name, shape):
    given = converted(name, 3)
    np.testing.assert_allclose(given.kernel(shape), _first_kernel(given) / 255, rtol=1e-6)


def test_both_first_kernels_of_a_y_network_are_scaled(converted):
    given = converted("y-network", 3)
    first = [layer for layer in given.model.layers if layer.weights and layer.kernel.shape == (3, 3, 3, 4)]
    scaled = [numpy_helper.to_array(each) for each in given.onnx.graph.initializer if list(each.dims) == [4, 3, 3, 3]]
    assert len(scaled) == len(first) == 2
    for layer in first:
        expected = layer.kernel.numpy().transpose(3, 2, 0, 1) / 255
        assert any(np.allclose(kernel, expected, rtol=1e-6, atol=0) for kernel in scaled)


@pytest.mark.parametrize("name", ["caffe", "minus one to one", "torch", "normalised"])
def test_where_a_mean_is_subtracted_the_first_kernel_stays_as_it_is(converted, name):
    given = converted(name, 3)
    np.testing.assert_array_equal(given.kernel((4, 3, 3, 3)), _first_kernel(given))


def test_a_kernel_that_another_layer_has_too_stays_as_it_is(converted):
    given = converted("shared kernel", 3)
    np.testing.assert_array_equal(given.kernel((3, 3, 3, 3)), _first_kernel(given))


def test_shapes_are_known_of_every_tensor_but_for_the_batch(converted):
    given = converted("densenet-bc", 3)
    known = shapes(given.onnx)
    assert known["image"] == [None, 12, 16, 3]
    assert known["probabilities"] == [None, 5]
    for node in given.onnx.graph.node:
        batch, *rest = known[node.output[0]]
        assert batch is None
        assert None not in rest


# From here on graphs are made by hand, for what no layer of Keras leads to.

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32) / 100
node = helper.make_node


def made(nodes, height=4, width=5, opsets=(("", 17),), version=8, **constants):
    """A graph of pictures (N, height, width, 3) with these nodes between its two ends."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", None])
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    nodes = [node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT), *nodes]
    graph = helper.make_graph(nodes, "by hand", [image], [output], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*each) for each in opsets], ir_version=version)


def answers(model, count=7):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    size = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:]
    pixels = np.random.default_rng(2).integers(0, 256, (count, *size), np.uint8)
    return session.run(["probabilities"], {"image": pixels})[0]


def smaller(model):
    """The optimised model, which answers the same, and its operations."""
    before = answers(model)
    result = optimised(model)
    np.testing.assert_allclose(answers(result), before, atol=1e-5, rtol=1e-5)
    assert before.std() > 1e-3, "answers that are all the same prove nothing"
    return result, [node.op_type for node in result.graph.node]


def features(kernel="kernel"):
    """Channels-first features (N, 4, 2, 3) of the pictures."""
    return [
        node("Transpose", ["floats"], ["first"], perm=[0, 3, 1, 2]),
        node("Conv", ["first", kernel], ["features"]),
    ]


FLATTENED = [node("Transpose", ["features"], ["last"], perm=[0, 2, 3, 1]), node("Flatten", ["last"], ["flat"], axis=1)]
SQUARE = RNG.normal(size=(24, 24)).astype(np.float32)
SOFTMAX = node("Softmax", ["logits"], ["probabilities"])


@pytest.mark.parametrize(
    ("dense", "gone"),
    [
        (node("MatMul", ["flat", "dense"], ["logits"]), True),
        (node("Gemm", ["flat", "dense", "bias"], ["logits"]), True),
        (node("Gemm", ["flat", "dense", "bias"], ["logits"], transB=1), False),
    ],
)
def test_rows_are_put_in_order_where_the_kernel_has_a_row_for_each_feature(dense, gone):
    bias = np.arange(24, dtype=np.float32) / 10
    model = made([*features(), *FLATTENED, dense, SOFTMAX], kernel=KERNEL, dense=SQUARE, bias=bias)
    _, operations = smaller(model)
    assert operations.count("Transpose") == (1 if gone else 2)


@pytest.mark.parametrize(
    "more",
    [
        [node("MatMul", ["flat", "dense"], ["a"]), node("Add", ["a", "flat"], ["logits"])],
        [node("MatMul", ["flat", "dense"], ["a"]), node("MatMul", ["a", "dense"], ["logits"])],
        [
            node("MatMul", ["flat", "dense"], ["a"]),
            node("ReduceMax", ["last"], ["b"], axes=[1, 2, 3], keepdims=0),
            node("Unsqueeze", ["b", "one"], ["c"]),
            node("Add", ["a", "c"], ["logits"]),
        ],
    ],
    ids=["flattened features are used again", "the kernel is used again", "transposed features are used again"],
)
def test_rows_stay_in_order_where_the_order_is_seen_elsewhere(more):
    one = np.array([1], np.int64)
    model = made([*features(), *FLATTENED, *more, SOFTMAX], kernel=KERNEL, dense=SQUARE / 10, one=one)
    _, operations = smaller(model)
    assert operations.count("Transpose") == 2


def test_rows_stay_in_order_behind_a_transpose_of_another_kind():
    turned = node("Transpose", ["features"], ["last"], perm=[0, 3, 2, 1])
    dense = node("MatMul", ["flat", "dense"], ["logits"])
    model = made([*features(), turned, FLATTENED[1], dense, SOFTMAX], kernel=KERNEL, dense=SQUARE)
    _, operations = smaller(model)
    assert operations.count("Transpose") == 2


POOLED = [
    node("Relu", ["x"], ["active"]),
    node("GlobalAveragePool", ["active"], ["pooled"]),
    node("Flatten", ["pooled"], ["logits"], axis=1),
    SOFTMAX,
]
PER_CHANNEL = np.array([1.5, -0.5, 2, 1], np.float32).reshape(4, 1, 1)
SHIFT = np.array([0.5, 1, -1, 2], np.float32).reshape(1, 4, 1, 1)
PER_PLACE = np.array([[1, 2, -1], [0.5, 3, 1]], np.float32)


def between(*nodes):
    """A ReLU, which no normalisation can be folded into, and these nodes, from `active0` to `x`."""
    return [*features(), node("Relu", ["features"], ["active0"]), *nodes, *POOLED]


MULTIPLY, ADD = node("Mul", ["active0", "scale"], ["scaled"]), node("Add", ["scaled", "shift"], ["x"])


@pytest.mark.parametrize(
    ("nodes", "scale", "shift"),
    [
        ([MULTIPLY, ADD], PER_CHANNEL, SHIFT),
        ([node("Mul", ["scale", "active0"], ["scaled"]), node("Add", ["shift", "scaled"], ["x"])], PER_CHANNEL, SHIFT),
        ([MULTIPLY, ADD], PER_CHANNEL[None], SHIFT[0]),
    ],
)
def test_a_normalisation_behind_a_relu_becomes_one_operation(nodes, scale, shift):
    model, operations = smaller(made(between(*nodes), kernel=KERNEL, scale=scale, shift=shift))
    assert operations == [
        *("Transpose", "Cast", "Conv", "Relu", "BatchNormalization"),
        *("Relu", "GlobalAveragePool", "Flatten", "Softmax"),
    ]
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    (joined,) = (each for each in model.graph.node if each.op_type == "BatchNormalization")
    found = [constants[name] for name in joined.input[1:]]
    for value, expected in zip(found, (scale.ravel(), shift.ravel(), np.zeros(4), np.ones(4)), strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize(
    ("nodes", "scale", "shift"),
    [
        ([MULTIPLY, ADD], np.float32(2), SHIFT),
        ([MULTIPLY, ADD], PER_CHANNEL, np.float32(0.5)),
        ([MULTIPLY, ADD], PER_PLACE, SHIFT),
        ([MULTIPLY, ADD], PER_CHANNEL, PER_PLACE),
        ([MULTIPLY, node("Add", ["scaled", "active0"], ["x"])], PER_CHANNEL, SHIFT),
        ([MULTIPLY, node("Add", ["scaled", "shift"], ["y"]), node("Add", ["y", "scaled"], ["x"])], PER_CHANNEL, SHIFT),
        ([MULTIPLY, node("Sub", ["scaled", "shift"], ["x"])], PER_CHANNEL, SHIFT),
    ],
    ids=["one scale", "one shift", "a scale a place", "a shift a place", "another sum", "taken twice", "difference"],
)
def test_what_is_no_normalisation_of_channels_stays_as_it_is(nodes, scale, shift):
    _, operations = smaller(made(between(*nodes), kernel=KERNEL, scale=scale, shift=shift))
    assert "BatchNormalization" not in operations
    assert "Mul" in operations


def test_a_scale_and_a_shift_for_each_column_are_no_normalisation_of_as_many_channels():
    each = np.array([1, 2, -1, 0.5], np.float32)
    model = made(between(MULTIPLY, ADD), width=6, kernel=KERNEL, scale=each, shift=each)
    assert shapes(model)["features"] == [None, 4, 2, 4]
    _, operations = smaller(model)
    assert "BatchNormalization" not in operations


def ended(features):
    """Features (N, 4, rows, columns), pooled."""
    return [
        node("GlobalAveragePool", [features], ["pooled"]),
        node("Flatten", ["pooled"], ["logits"], axis=1),
        SOFTMAX,
    ]


SCALED = node("Mul", ["floats", "scale"], ["scaled"])
TRANSPOSED = node("Transpose", ["scaled"], ["first"], perm=[0, 3, 1, 2])
PADDED = node("Conv", ["first", "kernel"], ["features"], pads=[1, 1, 1, 1])
THIRDS = np.array([0.1, 0.2, 0.3], np.float32)


@pytest.mark.parametrize("scale", [np.float32(1 / 255), np.full((1, 1, 1, 1), 1 / 255, np.float32)])
def test_one_scale_goes_into_the_kernel(scale):
    model, operations = smaller(made([SCALED, TRANSPOSED, PADDED, *ended("features")], kernel=KERNEL * 99, scale=scale))
    assert operations == ["Transpose", "Cast", "Conv", "GlobalAveragePool", "Flatten", "Softmax"]
    (kernel,) = map(numpy_helper.to_array, model.graph.initializer)
    np.testing.assert_allclose(kernel, KERNEL * 99 / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "scale"),
    [
        ([SCALED, TRANSPOSED, PADDED], THIRDS),
        ([node("Sub", ["floats", "scale"], ["scaled"]), TRANSPOSED, PADDED], THIRDS * 100),
        ([node("Add", ["floats", "scale"], ["scaled"]), TRANSPOSED, PADDED], np.float32(-128)),
    ],
    ids=["a scale a channel", "a mean a channel", "one mean"],
)
def test_what_is_not_one_scale_stays_before_the_kernel_and_the_bytes_are_transposed(nodes, scale):
    model, operations = smaller(made([*nodes, *ended("features")], kernel=KERNEL, scale=scale))
    assert operations[:2] == ["Transpose", "Cast"]
    assert operations[2:4] == [nodes[0].op_type, "Conv"]
    kernel = next(each for each in model.graph.initializer if len(each.dims) == 4 and each.dims[-1] == 3)
    np.testing.assert_array_equal(numpy_helper.to_array(kernel), KERNEL)


def test_a_kernel_that_two_layers_share_is_not_scaled_for_one_of_them():
    second = node("Conv", ["relu", "kernel"], ["second"], pads=[1, 1, 1, 1])
    kernel = KERNEL[:3] * 10
    nodes = [SCALED, TRANSPOSED, PADDED, node("Relu", ["features"], ["relu"]), second, *ended("second")]
    model, operations = smaller(made(nodes, kernel=kernel, scale=np.float32(0.1)))
    assert "Mul" in operations
    assert any(np.array_equal(numpy_helper.to_array(each), kernel) for each in model.graph.initializer)


def test_pictures_that_are_also_added_to_features_stay_scaled():
    nodes = [SCALED, TRANSPOSED, PADDED, node("Add", ["features", "first"], ["sum"]), *ended("sum")]
    _, operations = smaller(made(nodes, kernel=KERNEL[:3], scale=np.float32(0.1)))
    assert operations[:4] == ["Transpose", "Cast", "Mul", "Conv"]


def test_pictures_that_go_two_ways_are_transposed_once():
    again = [
        node("Add", ["scaled", "shift"], ["shifted"]),
        node("Relu", ["shifted"], ["relu"]),
        node("Transpose", ["relu"], ["second"], perm=[0, 3, 1, 2]),
        node("Add", ["features", "second"], ["sum"]),
    ]
    nodes = [SCALED, TRANSPOSED, PADDED, *again, *ended("sum")]
    shift = np.array([-5, -3, -12], np.float32)
    _, operations = smaller(made(nodes, kernel=KERNEL[:3], scale=np.float32(0.1), shift=shift))
    assert operations.count("Transpose") == 1
    assert operations[0] == "Transpose"


def test_what_is_added_to_each_place_of_the_pictures_keeps_its_order():
    added = node("Add", ["floats", "picture"], ["scaled"])
    picture = RNG.normal(size=(4, 5, 3)).astype(np.float32) * 100
    model = made([added, TRANSPOSED, PADDED, *ended("features")], kernel=KERNEL, picture=picture)
    assert smaller(model)[1][:3] == ["Cast", "Add", "Transpose"]


@pytest.mark.parametrize(
    "also",
    [
        [node("ReduceMax", ["scaled"], ["b"], axes=[1, 2], keepdims=0), node("MatMul", ["b", "other"], ["more"])],
        [node("Add", ["scaled", "picture"], ["p"]), node("ReduceSum", ["p", "places"], ["more"], keepdims=0)],
    ],
    ids=["a node that counts dimensions", "a value a place"],
)
def test_where_the_order_of_the_pictures_is_seen_they_stay_in_it(also):
    pooled = [node("GlobalAveragePool", ["features"], ["pooled"]), node("Flatten", ["pooled"], ["flat"], axis=1)]
    nodes = [SCALED, TRANSPOSED, PADDED, *pooled, *also, node("Add", ["flat", "more"], ["logits"]), SOFTMAX]
    constants = {"kernel": KERNEL[:3], "scale": np.float32(0.1), "other": THIRDS * np.eye(3, dtype=np.float32)}
    places = {"picture": RNG.normal(size=(4, 5, 3)).astype(np.float32), "places": np.array([1, 2])}
    used = {name for each in nodes for name in each.input}
    given = {name: value for name, value in {**constants, **places}.items() if name in used}
    _, operations = smaller(made(nodes, **given))
    assert operations[:2] == ["Cast", "Mul"]


def test_whatever_a_graph_says_of_itself_it_comes_out_as_plain_onnx_of_one_opset():
    more = (("", 17), ("ai.onnx.ml", 2), ("com.microsoft", 1))
    model, _ = smaller(made([*features(), *ended("features")], opsets=more, version=10, kernel=KERNEL))
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert model.ir_version == 8


def test_nodes_and_constants_that_nobody_takes_are_dropped():
    unused = [node("Mul", ["features", "unused"], ["a"]), node("Relu", ["a"], ["b"])]
    nodes = [*features(), *unused, *ended("features")]
    model, operations = smaller(made(nodes, kernel=KERNEL, unused=THIRDS[:1]))
    assert operations == ["Transpose", "Cast", "Conv", "GlobalAveragePool", "Flatten", "Softmax"]
    assert len(model.graph.initializer) == 1
