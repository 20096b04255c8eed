import keras
import numpy as np
import pytest
from keras import layers

from training.learning.activations import BINS, LAYERS, Activations, Watch, statistics, watched
from training.learning.feed import Examples


def network(convolutions):
    picture = keras.Input((8, 8, 1), dtype="uint8")
    x = layers.Rescaling(1 / 255)(picture)
    for number in range(convolutions):
        x = layers.Conv2D(2, 3, padding="same", name=f"conv{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(2, activation="softmax")(x))


def test_watched_are_the_nonlinear_layers_but_for_the_answer():
    assert [layer.name for layer in watched(network(3))] == ["relu0", "relu1", "relu2"]


def test_of_many_layers_the_first_the_last_and_some_between_are_watched():
    names = [layer.name for layer in watched(network(30))]
    assert len(names) == LAYERS
    assert (names[0], names[-1]) == ("relu0", "relu29")


def test_statistics_are_those_of_the_values():
    values = np.array([0, 0, 0.04, 1, 2, 10.5, np.nan], dtype=np.float32)
    mean, deviation, near_zero, histogram = statistics(values)
    assert mean == pytest.approx(13.54 / 6)
    assert deviation == pytest.approx(values[:-1].std(), rel=1e-5)
    assert near_zero == 0.5
    assert histogram == [3, 0, 0, 0, 1, 0, 0, 0, 1] + [0] * (BINS - 9)


@pytest.mark.parametrize("steps", [1, 4])
def test_moments_run_from_before_the_first_batch_to_the_last(steps):
    model = network(2)
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (640, 8, 8, 1), dtype=np.uint8), rng.integers(0, 2, 640), np.arange(640))
    record = Activations([layer.name for layer in watched(model)])
    model.compile("adam", "sparse_categorical_crossentropy", steps_per_execution=steps)
    watch = Watch(model, examples, record, epochs=5, batches=20)
    model.fit(examples.pixels, examples.classes, batch_size=32, epochs=5, verbose=0, callbacks=[watch])
    assert record.batches[0] == 0
    assert 90 <= record.batches[-1] <= 100
    assert record.batches == sorted(set(record.batches))
    rows = len(record.batches)
    assert 5 <= rows <= 7
    assert np.shape(record.means) == np.shape(record.deviations) == np.shape(record.near_zero) == (rows, 2)
    assert np.shape(record.histograms) == (rows, 2, BINS)
    assert record.means[0] != record.means[-1]


def test_a_dead_layer_is_seen():
    model = network(1)
    model.get_layer("conv0").set_weights([np.zeros((3, 3, 1, 2)), np.full(2, -1.0)])
    record = Activations(["relu0"])
    examples = Examples(np.zeros((32, 8, 8, 1), np.uint8), np.zeros(32, int), np.arange(32))
    watch = Watch(model, examples, record, epochs=1, batches=1)
    watch.set_model(model)
    watch.on_epoch_begin(0)
    assert record.near_zero == [[1.0]]
