"""Which device is tried, and what ONNX Runtime is told of it; what needs a GPU is checked where there is one."""

import numpy as np
import pytest

from serving.engine import devices
from serving.engine.devices import padded, providers, sizes, to_try
from serving.errors import NoRuntime

EVERY = ("cpu", "cuda", "tensorrt")


@pytest.mark.parametrize(
    ("wanted", "usable", "gpu", "tried"),
    [
        ("auto", EVERY, True, ["cuda", "cpu"]),
        ("auto", EVERY, False, ["cpu"]),
        ("auto", ("cpu",), True, ["cpu"]),
        ("auto", ("cpu",), False, ["cpu"]),
        ("cpu", EVERY, True, ["cpu"]),
        ("cuda", EVERY, True, ["cuda"]),
        ("cuda", EVERY, False, ["cuda"]),  # what is asked for is tried however it looks
        ("tensorrt", EVERY, True, ["tensorrt"]),
    ],
)
def test_a_gpu_is_tried_where_there_is_one_and_nothing_stands_in_for_what_is_asked_for(wanted, usable, gpu, tried):
    assert to_try(wanted, usable, gpu=gpu) == tried


@pytest.mark.parametrize(
    ("wanted", "usable", "able"), [("cuda", ("cpu",), "cpu"), ("tensorrt", ("cuda", "cpu"), "cpu and cuda")]
)
def test_a_build_without_the_device_is_refused_with_what_to_install(wanted, usable, able):
    with pytest.raises(NoRuntime) as refused:
        to_try(wanted, usable, gpu=True)
    assert str(refused.value) == (
        f"TINTYPE_DEVICE is {wanted}, and the installed ONNX Runtime is built for {able} alone; pip uninstall "
        "onnxruntime, then pip install 'tintype[gpu]', or unset TINTYPE_DEVICE"
    )


@pytest.mark.parametrize(
    ("there", "seen"),
    [((), False), (("null",), False), (("nvidiactl",), False), (("nvidia1",), True), (("dxg",), True)],
)
def test_a_gpu_is_seen_by_its_device_file(tmp_path, monkeypatch, there, seen):
    monkeypatch.setattr(devices, "DEV", tmp_path)
    for name in there:
        (tmp_path / name).touch()
    assert devices.gpu_seen() is seen


def test_each_device_falls_back_to_the_next_for_single_operators_only():
    named = {
        device: [each if isinstance(each, str) else each[0] for each in providers(device, "fp32", None)]
        for device in EVERY
    }
    assert named == {
        "cpu": ["CPUExecutionProvider"],
        "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    }


def test_cuda_searches_no_algorithms_and_rounds_as_fp32_does():
    ((_, options), _) = providers("cuda", "fp32", None)
    assert (options["cudnn_conv_algo_search"], options["use_tf32"]) == ("HEURISTIC", "0")


@pytest.mark.parametrize(("variant", "half"), [("fp32", "0"), ("fp16", "1")])
def test_tensorrt_computes_in_half_for_fp16_alone_and_keeps_its_engines(tmp_path, variant, half):
    (_, options), *_ = providers("tensorrt", variant, tmp_path)
    assert options["trt_fp16_enable"] == half
    assert (options["trt_engine_cache_enable"], options["trt_engine_cache_path"]) == ("1", str(tmp_path))


@pytest.mark.parametrize(("pictures", "sent"), [(1, 1), (2, 2), (3, 4), (5, 8), (16, 16), (33, 64), (127, 128)])
def test_a_batch_is_filled_up_to_a_power_of_two(pictures, sent):
    given = np.full((pictures, 4, 5, 3), 7, np.uint8)
    full = padded(given)
    assert (full.shape, full.dtype) == ((sent, 4, 5, 3), np.uint8)
    np.testing.assert_array_equal(full[:pictures], given)
    assert not full[pictures:].any()


def test_every_size_that_a_batch_is_filled_up_to_is_met_in_the_warm_up_the_extremes_first():
    assert sizes(4) == [8, 1, 2, 4]
    assert sizes(1) == [2, 1]
    for best in (1, 3, 4, 64):
        fullest = range(1, 2 * best)  # requests are taken until the best batch is reached
        assert {len(padded(np.zeros((each, 1), np.uint8))) for each in fullest} <= set(sizes(best))
