import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import profile
from exporters.profile import BATCHES, LONGEST, measure, rate

SHAPE = (32, 32, 1)
NOT_IMPORTED = ("tensorflow", "keras", "tf2onnx", "torch", "jax")
LIST_IMPORTED = "import sys, exporters.profile; print(*sys.modules)"


def network(path, maps, shape=SHAPE):
    """Two convolutions; the work of the second grows with the square of the maps."""
    rng = np.random.default_rng(0)
    kernels = {"one": rng.normal(size=(maps, 1, 3, 3)), "two": rng.normal(size=(maps, maps, 3, 3))}
    values = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in kernels.items()]
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["first"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "one"], ["few"]),
        helper.make_node("Conv", ["few", "two"], ["many"]),
        helper.make_node("GlobalAveragePool", ["many"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"], axis=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *shape])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", maps])
    graph = helper.make_graph(nodes, "by hand", [image], [output], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return model


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A small network on every thread count of this machine."""
    path = tmp_path_factory.mktemp("profile") / "model.onnx"
    network(path, 8)
    return measure(path, SHAPE)


@pytest.fixture
def one_core():
    """This process, and those that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_every_batch_is_measured_on_one_thread_and_on_all_cores(measured):
    points = [(point["threads"], point["batch"]) for point in measured["profile"]]
    threads = sorted({threads for threads, _ in points})
    assert points == [(count, batch) for count in threads for batch in BATCHES]
    assert (threads[0], threads[-1]) == (1, len(os.sched_getaffinity(0)))


def test_a_point_says_how_many_images_how_soon_and_with_how_much_memory(measured):
    for point in measured["profile"]:
        assert point["latency_ms"] > 0
        assert point["images_per_second"] == pytest.approx(1000 * point["batch"] / point["latency_ms"], rel=0.02)
        assert 0 < point["memory_mb"] < 200
    for threads in {point["threads"] for point in measured["profile"]}:
        memory = [point["memory_mb"] for point in measured["profile"] if point["threads"] == threads]
        assert memory == sorted(memory), "the most that was taken cannot become less"


def test_the_best_batch_is_that_of_one_thread(measured):
    alone = {point["batch"]: point["images_per_second"] for point in measured["profile"] if point["threads"] == 1}
    assert measured["images_per_second"] == alone[measured["best_batch"]]
    fast = [batch for batch, images in alone.items() if images >= 0.97 * max(alone.values())]
    assert measured["best_batch"] == fast[-1]


@pytest.fixture
def told(monkeypatch):
    """What is made of rates that are given, by thread count and batch."""

    def best(rates, cores=1):
        asked = []

        def points(_path, _shape, threads):
            asked.append(threads)
            return [
                {"threads": threads, "batch": batch, "images_per_second": images}
                for batch, images in rates.get(threads, {1: 1}).items()
            ]

        monkeypatch.setattr(profile, "_in_a_process", points)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        return measure("model.onnx", SHAPE), asked

    return best


@pytest.mark.parametrize(
    ("rates", "batch", "images"),
    [
        ({1: 100, 2: 200, 4: 300}, 4, 300),
        ({1: 300, 2: 200, 4: 100}, 1, 300),
        ({1: 100, 2: 200, 4: 196, 8: 100}, 4, 196),
        ({1: 100, 2: 200, 4: 190, 8: 100}, 2, 200),
        ({1: 200, 2: 100, 4: 195, 8: 180}, 4, 195),
        ({1: 38}, 1, 38),
    ],
    ids=["larger is better", "smaller is better", "nearly as fast", "not as fast", "with a dip", "one point"],
)
def test_of_the_batches_that_are_nearly_as_fast_as_any_the_largest_is_best(told, rates, batch, images):
    found, _ = told({1: rates, 2: dict.fromkeys(rates, 1000)}, cores=2)
    assert (found["best_batch"], found["images_per_second"]) == (batch, images)
    assert len(found["profile"]) == 2 * len(rates)


@pytest.mark.parametrize(
    ("cores", "threads"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_thread_counts_double_up_to_the_cores(told, cores, threads):
    assert told({}, cores)[1] == threads


def test_a_process_that_may_use_one_core_is_measured_on_it_alone_and_slow_batches_end_it(tmp_path, one_core):
    path = tmp_path / "model.onnx"
    network(path, 448, (64, 64, 1))
    points = measure(path, (64, 64, 1))["profile"]
    assert {point["threads"] for point in points} == {1}
    *quick, last = points
    assert last["latency_ms"] > 1000 * LONGEST
    assert all(point["latency_ms"] <= 1000 * LONGEST for point in quick)
    assert [point["batch"] for point in points] == list(BATCHES[: len(points)])
    assert len(points) < len(BATCHES)


def test_two_models_are_compared_by_their_rate(tmp_path):
    light, heavy = (network(tmp_path / "model.onnx", maps).SerializeToString() for maps in (4, 64))
    pixels = np.zeros((8, *SHAPE), np.uint8)
    assert rate(light, pixels) > 2 * rate(heavy, pixels) > 0


def test_what_is_measured_has_no_other_library_in_memory():
    command = [sys.executable, "-c", LIST_IMPORTED]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "onnxruntime" in imported
    assert not set(NOT_IMPORTED).intersection(imported)
