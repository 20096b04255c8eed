"""Where a model can run, and how ONNX Runtime is told: its execution providers.

See "Execution Providers", "CUDA Execution Provider" and "TensorRT Execution Provider" in ONNX Runtime's documentation.
"""

import contextlib
import ctypes
import io
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.settings import AUTO
from serving.errors import NoRuntime

CPU, CUDA, TENSORRT, REMOTE = "cpu", "cuda", "tensorrt", "remote"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
GPU = 0  # of those that CUDA_VISIBLE_DEVICES leaves
GPU_BATCH = 64  # pictures: nothing is measured on GPUs; ResNet50 gains little beyond
DEV = Path("/dev")


def gpu_seen() -> bool:
    """Whether the machine seems to have an NVIDIA GPU: one that has none need not try, which is slow and noisy."""
    return any(DEV.glob("nvidia[0-9]*")) or (DEV / "dxg").exists()  # dxg: under Windows


def to_try(wanted: str, usable: Collection[str], *, gpu: bool) -> list[str]:
    """The devices to try, in turn.

    Args:
        wanted: as TINTYPE_DEVICE has it.
        usable: those that the runtime was built for.
        gpu: whether there seems to be one.

    Raises:
        NoRuntime: the runtime was not built for the one that is wanted.
    """
    if wanted == AUTO:
        return [CUDA, CPU] if gpu and CUDA in usable else [CPU]
    if wanted not in usable:
        able = " and ".join(device for device in PROVIDERS if device in usable)
        raise NoRuntime(
            f"TINTYPE_DEVICE is {wanted}, and the installed ONNX Runtime is built for {able} alone; "
            "pip uninstall onnxruntime, then pip install 'tintype[gpu]', or unset TINTYPE_DEVICE"
        )
    return [wanted]


def providers(device: str, variant: str, cache_folder: Path | None) -> list[Any]:
    """What an ONNX Runtime session is given for a device.

    Args:
        device: cpu, cuda or tensorrt.
        variant: of the model; TensorRT computes in half precision for fp16 alone.
        cache_folder: where TensorRT keeps the engines that it builds, which takes it minutes; one of its own for each
            version and variant, for TensorRT knows an engine by the shape of the graph, not by the weights.
    """
    options = {
        # The default, EXHAUSTIVE, searches for seconds at each new size of batch.
        "cudnn_conv_algo_search": "HEURISTIC",
        "device_id": str(GPU),
        "use_tf32": "0",  # fp32 means fp32; who wants it faster has fp16, which is proven
    }
    cuda = (PROVIDERS[CUDA], options)
    if device == CPU:
        return [PROVIDERS[CPU]]
    if device == CUDA:
        return [cuda, PROVIDERS[CPU]]
    kept = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache_folder)} if cache_folder else {}
    half = {"trt_fp16_enable": "1" if variant == "fp16" else "0"}
    return [(PROVIDERS[TENSORRT], {"device_id": str(GPU), **half, **kept}), cuda, PROVIDERS[CPU]]


@cache
def preload() -> None:
    """Load CUDA and cuDNN from their Python packages, where they are; once in a process.

    What `onnxruntime.preload_dlls` prints of those that are missing is not shown: `why_not` says it.
    """
    import onnxruntime

    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def why_not(device: str) -> str:
    """Why a provider did not start. ONNX Runtime logs it and says nothing; the loader of libraries repeats it."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for name in ("shared", device):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"), ctypes.RTLD_GLOBAL)
    except OSError as error:
        return str(error)
    return "ONNX Runtime gave no reason"


def padded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures, (N, height, width, channels), and black ones behind them up to the next power of two.

    A GPU's libraries plan anew for every size of batch, which takes longer than the batch: they meet a few sizes only.
    """
    size = 1 << (len(pixels) - 1).bit_length()
    if size == len(pixels):
        return pixels
    filled = np.zeros((size, *pixels.shape[1:]), np.uint8)
    filled[: len(pixels)] = pixels
    return filled


def sizes(best_batch: int) -> list[int]:
    """The sizes of batch that an engine comes to, for a warm-up: a batch may be filled to just below twice the best.

    The extremes are first: TensorRT widens an engine's range of sizes, and builds it anew, whenever one is outside.
    """
    largest = 1 << (2 * best_batch - 1).bit_length()
    return [largest, *(1 << power for power in range(largest.bit_length() - 1))]
