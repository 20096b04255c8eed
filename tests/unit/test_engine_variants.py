import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from artifacts import speed
from artifacts.errors import BadBundle
from artifacts.pictures import Pictures
from artifacts.settings import read
from serving.engine import devices
from serving.engine import onnx as onnx_runtime
from serving.engine.onnx import OnnxRuntime
from serving.engine.runtime import GOLDEN_TOLERANCES
from serving.engine.variants import Choice, Plan, choices, open_best, plans
from serving.errors import NoRuntime

FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
SIZE = {"height": 4, "width": 4, "channels": 1}
RATES = {"fp32": 100.0, "fp16": 50.0, "int8": 190.0}
FAULT = "int8 gives another label than the Keras model on 9 of 400 pictures"


def write_model(path, off=0.0):
    """Light and dark by the mean brightness; `off` is added to light and taken from dark."""
    constants = {
        "kernel": np.array([[1, -1]]) / 255,
        "bias": np.array([off, 1 - off]),
    }
    values = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["mean", "kernel", "bias"], ["probabilities"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 4, 4, 1])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "by hand", [image], [output], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def golden(encode):
    """20 grey pictures, each of one brightness, and what the model says of them."""
    light = np.linspace(10, 240, 20).astype(np.uint8)
    encoded = [encode(np.full((4, 4), brightness, np.uint8)) for brightness in light]
    share = (light / 255).astype(np.float32)
    expected = np.stack([share, 1 - share], 1)
    return Pictures(encoded, [str(each) for each in light], np.zeros(20, np.int64), expected)


@pytest.fixture
def version(store, manifest, golden):
    """Publish a version; how far its variants are off, what was measured of them, and more of the manifest."""

    def published(rates=RATES, off=None, answers=None, allowed=(), **more):
        off = off or {}
        entries = {}
        with store.staging("tones") as folder:
            for number, (name, rate) in enumerate(rates.items()):
                write_model(folder / FILES[name], off.get(name, 0))
                entries[name] = {"file": FILES[name], "best_batch": 2**number, "images_per_second": rate}
                entries[name] |= {"allowed": FAULT} if name in allowed else {}
            differing = {name: golden.probabilities + np.array([each, -each]) for name, each in (answers or {}).items()}
            kept = Pictures(golden.encoded, golden.names, golden.labels, golden.probabilities, differing)
            kept.save(folder / "golden.npz")
            return store.publish("tones", folder, {**manifest, "input": SIZE, "variants": entries, **more}, {})

    return published


def of(variant):
    """Settings by which the CPU answers in a variant."""
    return read({"TINTYPE_DEVICE": "cpu", "TINTYPE_VARIANT": variant})


def names(bundle, wanted="auto", device="cpu"):
    return [choice.variant for choice in choices(bundle, wanted, device)]


@pytest.mark.parametrize(
    ("rates", "order"),
    [
        ({"fp32": 100, "fp16": 50, "int8": 190}, ["int8", "fp32", "fp16"]),
        ({"fp32": 100, "fp16": 120, "int8": 190}, ["int8", "fp16", "fp32"]),
        ({"fp32": 200, "fp16": 120, "int8": 190}, ["fp32", "int8", "fp16"]),
        ({"fp32": 100, "int8": 106}, ["int8", "fp32"]),
        ({"fp32": 100, "int8": 105}, ["fp32", "int8"]),
        ({"fp32": 100, "int8": 104}, ["fp32", "int8"]),
        ({"int8": 105, "fp16": 104, "fp32": 100}, ["int8", "fp32", "fp16"]),
        ({"fp32": 100}, ["fp32"]),
    ],
)
def test_the_fastest_is_preferred_and_full_precision_unless_another_is_worth_it(version, rates, order):
    assert names(version(rates)) == order


def test_each_has_the_batch_at_which_it_is_fastest(version):
    assert choices(version(), "auto") == [Choice("int8", 4), Choice("fp32", 1), Choice("fp16", 2)]
    assert choices(version(), "fp16") == [Choice("fp16", 2)]


def test_what_was_measured_on_this_machine_decides(version):
    bundle = version()
    measured = {"fp32": 300, "fp16": 40, "int8": 200}
    speed.keep(bundle, {name: {"images_per_second": rate, "best_batch": 16} for name, rate in measured.items()})
    assert choices(bundle, "auto") == [Choice("fp32", 16), Choice("int8", 16), Choice("fp16", 16)]
    assert open_best(bundle, of("auto"), threads=1)[:2] == ("fp32", 16)


def test_what_was_let_through_although_it_failed_is_never_preferred(version):
    bundle = version({"fp32": 100, "fp16": 50, "int8": 10_000}, allowed=("int8",))
    assert names(bundle) == ["fp32", "fp16"]
    assert open_best(bundle, of("auto"), threads=1).variant == "fp32"
    assert names(bundle, "int8") == ["int8"]
    assert open_best(bundle, of("int8"), threads=1).variant == "int8"


def test_full_precision_that_was_let_through_is_there_all_the_same(version):
    assert names(version({"fp32": 100}, allowed=("fp32",))) == ["fp32"]
    assert names(version({"fp32": 100, "int8": 190}, allowed=("fp32", "int8"))) == ["fp32"]


def test_a_version_without_figures_answers_in_full_precision(publish):
    bundle = publish()
    assert choices(bundle, "auto") == [Choice("fp32", 4)]


@pytest.mark.parametrize(
    ("left_out", "why"),
    [
        ({"int8": FAULT}, f"tones@1 has no int8 ({FAULT}); set TINTYPE_VARIANT to one of: fp32, fp16"),
        ({}, "tones@1 has no int8 (the export was not asked for it); set TINTYPE_VARIANT to one of: fp32, fp16"),
        (None, "tones@1 has no int8 (the export was not asked for it); set TINTYPE_VARIANT to one of: fp32, fp16"),
    ],
)
def test_a_variant_that_is_not_there_is_refused_with_the_reason(version, left_out, why):
    bundle = version({"fp32": 100, "fp16": 50}, **({} if left_out is None else {"left_out": left_out}))
    for ask in (lambda: choices(bundle, "int8"), lambda: open_best(bundle, of("int8"), threads=1)):
        with pytest.raises(BadBundle) as refused:
            ask()
        assert str(refused.value) == why


def test_the_fastest_is_loaded_and_answers(version, golden):
    opened = open_best(version(), of("auto"), threads=1)
    assert opened[:2] == ("int8", 4)
    assert isinstance(opened.runtime, OnnxRuntime)
    np.testing.assert_allclose(opened.runtime.run(golden.decode(4, 4, 1)), golden.probabilities, atol=1e-6)


@pytest.mark.parametrize("wanted", ["fp32", "fp16", "int8"])
def test_the_one_that_is_wanted_is_loaded_however_slow(version, wanted):
    assert open_best(version(), of(wanted), threads=1).variant == wanted


@pytest.mark.parametrize("variant", FILES)
def test_each_precision_may_be_as_far_off_as_it_rounds(version, variant):
    limit = GOLDEN_TOLERANCES[variant]
    assert open_best(version(off={variant: 0.9 * limit}), of(variant), threads=1).variant == variant
    with pytest.raises(BadBundle, match=rf"tones@2 in {variant} answers its golden pictures otherwise, by "):
        open_best(version(off={variant: 1.2 * limit}), of(variant), threads=1)


def test_a_variant_is_held_to_what_it_said_itself_at_the_export(version):
    # Let through, or near a border: half of all labels may be another's, and that is known.
    bundle = version(off={"int8": 0.4}, answers={"int8": 0.4})
    assert open_best(bundle, of("int8"), threads=1).variant == "int8"
    with pytest.raises(BadBundle, match=r"int8 answers its golden pictures otherwise, by 4\.0e-01"):
        open_best(version(answers={"int8": 0.4}), of("int8"), threads=1)


def test_one_that_answers_otherwise_here_is_passed_over(version, caplog):
    bundle = version({"fp32": 100, "fp16": 150, "int8": 190}, off={"int8": 0.4})
    with caplog.at_level(logging.WARNING):
        assert open_best(bundle, of("auto"), threads=1).variant == "fp16"
    (record,) = caplog.records
    assert record.getMessage() == (
        "tones@1 in int8 answers its golden pictures otherwise, by 4.0e-01; fp16 answers instead"
    )


def test_one_after_the_other_is_passed_over(version, caplog):
    bundle = version({"fp32": 100, "fp16": 150, "int8": 190}, off={"int8": 0.4, "fp16": -0.2})
    with caplog.at_level(logging.WARNING):
        opened = open_best(bundle, of("auto"), threads=1)
    assert opened[:2] == ("fp32", 1)
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records] == [
        "fp16 answers instead",
        "fp32 answers instead",
    ]


def test_one_that_cannot_be_loaded_is_passed_over(version):
    bundle = version()
    bundle.variant_file("int8").write_bytes(b"no graph")
    assert open_best(bundle, of("auto"), threads=1).variant == "fp32"


def test_when_none_answers_as_it_did_the_version_is_refused(version):
    bundle = version(off=dict.fromkeys(FILES, 0.4))
    with pytest.raises(BadBundle, match="tones@1 in fp16 answers its golden pictures otherwise"):
        open_best(bundle, of("auto"), threads=1)


def test_the_one_that_is_wanted_has_no_substitute(version):
    with pytest.raises(BadBundle, match="tones@1 in int8 answers its golden pictures otherwise"):
        open_best(version(off={"int8": 0.4}), of("int8"), threads=1)


def test_one_that_was_let_through_is_no_substitute(version):
    bundle = version({"fp32": 100, "int8": 50}, off={"fp32": 0.4}, allowed=("int8",))
    with pytest.raises(BadBundle, match="fp32 answers"):
        open_best(bundle, of("auto"), threads=1)


# On a GPU.


@pytest.fixture
def on_gpus(monkeypatch):
    """As if ONNX Runtime were built for GPUs, and one were there; nothing is loaded by a plan."""
    monkeypatch.setattr(onnx_runtime, "usable", lambda: ["cpu", "cuda", "tensorrt"])
    monkeypatch.setattr(devices, "gpu_seen", lambda: True)


def test_a_gpu_prefers_half_precision_whatever_was_measured_on_cpus_and_runs_no_int8(version):
    assert choices(version(), "auto", "cuda") == [Choice("fp16", 64), Choice("fp32", 64)]
    assert choices(version({"fp32": 100, "int8": 10_000}), "auto", "tensorrt") == [Choice("fp32", 64)]


def test_half_precision_that_was_let_through_although_it_failed_is_not_preferred_on_a_gpu_either(version):
    bundle = version({"fp32": 100, "fp16": 50}, allowed=("fp16",))
    assert names(bundle, device="cuda") == ["fp32"]
    assert names(bundle, "fp16", "cuda") == ["fp16"]


@pytest.mark.usefixtures("on_gpus")
def test_with_auto_the_cpu_stands_in_for_the_gpu(version):
    assert plans(version(), read({})) == [
        Plan("cuda", Choice("fp16", 64)),
        Plan("cuda", Choice("fp32", 64)),
        Plan("cpu", Choice("int8", 4)),
        Plan("cpu", Choice("fp32", 1)),
        Plan("cpu", Choice("fp16", 2)),
    ]
    assert plans(version(), read({"TINTYPE_VARIANT": "int8"})) == [Plan("cpu", Choice("int8", 4))]


@pytest.mark.usefixtures("on_gpus")
@pytest.mark.parametrize("device", ["cpu", "cuda", "tensorrt"])
def test_nothing_stands_in_for_a_device_that_is_asked_for(version, device):
    assert {plan.device for plan in plans(version(), read({"TINTYPE_DEVICE": device}))} == {device}


@pytest.mark.usefixtures("on_gpus")
def test_int8_is_refused_on_a_gpu(version):
    with pytest.raises(NoRuntime) as refused:
        plans(version(), read({"TINTYPE_DEVICE": "cuda", "TINTYPE_VARIANT": "int8"}))
    assert str(refused.value) == (
        "TINTYPE_VARIANT is int8, which runs on CPUs alone, and TINTYPE_DEVICE is cuda; set TINTYPE_DEVICE=cpu, or "
        "TINTYPE_VARIANT to fp16 or fp32"
    )


def test_what_a_gpu_was_given_beyond_the_batch_is_no_answer(version, golden, monkeypatch):
    runtime = open_best(version(), of("fp32"), threads=1).runtime
    pixels = golden.decode(4, 4, 1)[:3]
    expected = runtime.run(pixels)
    monkeypatch.setattr(runtime, "_on_gpu", True)
    given = runtime.run(pixels)
    assert given.shape == (3, 2)
    np.testing.assert_allclose(given, expected, atol=1e-6)
