import keras
import pytest
from keras import layers

from training import models
from training.report import architecture, description
from training.report.architecture import Box, Fork, Repeat


def flat(items):
    """All boxes of a drawing."""
    for item in items:
        if isinstance(item, Box):
            yield item
        elif isinstance(item, Repeat):
            yield from flat([item.item])
        else:
            for way in item.ways:
                yield from flat(way)
            yield from flat([item.meeting] if item.meeting else [])


def titles(items):
    return [box.title for box in flat(items)]


def test_a_chain_is_drawn_from_top_to_bottom():
    drawn = architecture.drawing(models.build("cnn-small", (28, 28, 1), 10, seed=0))
    assert [item.kind for item in drawn] == ["box"] * 8
    assert titles(drawn) == [
        "Picture", "Convolution 3×3, 32", "Max pooling 2×2", "Convolution 3×3, 64", "Max pooling 2×2",
        "Convolution 3×3, 64", "Dense 64", "Dense 10",
    ]  # fmt: skip
    assert (drawn[1].after, drawn[1].shape, drawn[1].parameters) == (["ReLU"], "26 × 26 × 32", 320)
    assert drawn[-1].after == ["softmax"]


def test_residual_blocks_that_look_alike_are_drawn_once():
    drawn = architecture.drawing(models.build("resnet20v1", (32, 32, 3), 10, seed=0))
    assert [item.kind for item in drawn] == ["box", "box", "repeat", "fork", "repeat", "fork", "repeat", "box", "box"]
    assert [item.times for item in drawn if isinstance(item, Repeat)] == [3, 2, 2]
    shortcut, projected = drawn[2].item, drawn[3]
    assert [len(way) for way in shortcut.ways] == [2, 0]
    assert [len(way) for way in projected.ways] == [2, 1]
    assert projected.ways[1][0].title == "Convolution 1×1, 32, stride 2"
    assert (projected.meeting.title, projected.meeting.after) == ("Add", ["ReLU"])


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet20v1", (32, 32, 3)), ("y-network", (28, 28, 1)), ("cnn", (28, 28, 1))]
)
def test_every_parameter_is_in_the_drawing(name, shape):
    model = models.build(name, shape, 10, seed=0)
    assert sum(item.parameters for item in architecture.drawing(model)) == model.count_params()


def test_dense_blocks_are_drawn_once_although_they_grow():
    drawn = architecture.drawing(models.build("densenet100bc", (32, 32, 3), 10, seed=0))
    repeats = [item for item in drawn if isinstance(item, Repeat)]
    assert [item.times for item in repeats] == [16, 16, 16]
    assert [item.shape for item in repeats] == ["32 × 32 × 219", "16 × 16 × 300", "8 × 8 × 342"]
    assert repeats[0].item.ways[0][0].before == ["batch norm", "ReLU"]


def test_branches_stand_side_by_side():
    drawn = architecture.drawing(models.build("y-network", (28, 28, 1), 10, seed=0))
    (fork,) = (item for item in drawn if isinstance(item, Fork))
    assert [len(way) for way in fork.ways] == [6, 6]
    assert [way[0].title for way in fork.ways] == ["Convolution 3×3, 32", "Convolution 3×3, 32, dilated by 2"]
    assert fork.meeting.title == "Concatenate"


def test_forks_within_forks_that_end_together():
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(2, 1)(image)
    inner = layers.Conv2D(2, 3, padding="same")(x)
    left, right = layers.Conv2D(2, 1)(inner), layers.Conv2D(2, 5, padding="same")(inner)
    model = keras.Model(image, layers.Flatten()(layers.Add()([left, right, layers.Conv2D(2, 1)(x)])))
    drawn = architecture.drawing(model)
    assert sum(item.parameters for item in drawn) == model.count_params()
    outer = drawn[-1]
    assert outer.meeting.title == "Add"
    assert outer.ways[0][-1].meeting is None


def test_ways_that_cross_are_not_unravelled():
    image = keras.Input((4,), name="image")
    a, b = layers.Dense(3)(image), layers.Dense(3)(image)
    both = [layers.Add()([a, b]), layers.Multiply()([a, b])]
    model = keras.Model(image, layers.Dense(2)(layers.Concatenate()(both)))
    drawn = architecture.drawing(model)
    assert titles(drawn) == ["Picture", "4 layers whose ways cross", "Concatenate", "Dense 2"]
    assert sum(item.parameters for item in drawn) == model.count_params()


def test_the_table_counts_what_is_trained():
    model = models.build("cnn-stride2-bn", (28, 28, 1), 10, seed=0)
    model.layers[2].trainable = False
    rows = {row["name"]: row for row in description.parameters(model)}
    assert sum(row["parameters"] for row in rows.values()) == 30_802
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    first = rows[model.layers[2].name]
    assert (first["what"], first["shape"], first["parameters"], first["trainable"]) == (
        "Convolution 5×5, 8, stride 2", "14 × 14 × 8", 208, 0,
    )  # fmt: skip
    normalisation = rows[model.layers[3].name]
    assert (normalisation["what"], normalisation["parameters"], normalisation["trainable"]) == ("batch norm", 32, 16)


def test_a_layer_without_weights_is_named_by_the_one_before():
    model = models.build("cnn-stride2-bn", (28, 28, 1), 10, seed=0)
    convolution, relu = model.layers[2].name, next(each.name for each in model.layers if isinstance(each, layers.ReLU))
    assert description.spoken(model, [relu, convolution]) == [f"{relu} (after {convolution})", convolution]
