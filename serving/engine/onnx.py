"""ONNX Runtime, on the CPU or an NVIDIA GPU."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifacts.bundle import INPUT, OUTPUT, Bundle
from artifacts.errors import BadBundle
from serving.engine import devices
from serving.engine.devices import CPU, GPU, GPU_BATCH, PROVIDERS
from serving.engine.runtime import check_golden, finite
from serving.errors import EngineFailed, NoRuntime

SILENT, WARNINGS = 4, 2  # severities of ONNX Runtime's log: fatal errors alone, and its default


class OnnxRuntime:
    """One session. `run` may be called from several threads at once (ONNX Runtime's `Run` is thread-safe)."""

    def __init__(
        self, bundle: Bundle, variant: str, threads: int, device: str = CPU, cache: Path | None = None
    ) -> None:
        self._session = _session(bundle, variant, threads, device, cache)
        _check_ends(bundle, self._session)
        self._outputs = [OUTPUT]
        self._on_gpu = device != CPU
        self.device = f"{device}:{GPU}" if self._on_gpu else CPU

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (N, classes), of pictures, uint8 (N, height, width, channels).

        Raises:
            EngineFailed: ONNX Runtime raised, or the model gave what is no number.
        """
        sent = devices.padded(pixels) if self._on_gpu else pixels
        try:
            probabilities: NDArray[np.float32] = self._session.run(self._outputs, {INPUT: sent})[0]
        except Exception as error:  # onnxruntime has no base class of its own errors
            raise EngineFailed(f"ONNX Runtime failed on {len(pixels)} pictures ({_line(error)})") from error
        return finite(probabilities[: len(pixels)] if self._on_gpu else probabilities)


def usable() -> list[str]:
    """The devices that this ONNX Runtime is built for; whether they start, only a session tells."""
    available = onnxruntime.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in available]


def check_answers(bundle: Bundle) -> None:
    """Prove that every variant of a bundle answers its golden pictures here, on the CPU, before it goes live.

    Raises:
        BadBundle: one does not.
    """
    for variant in bundle.manifest["variants"]:
        open_onnx(bundle, variant, threads=1)


def open_onnx(bundle: Bundle, variant: str, threads: int, device: str = CPU, cache: Path | None = None) -> OnnxRuntime:
    """Load a variant, and prove on the golden pictures that it answers here as it did where it was made.

    Args:
        bundle: an opened version.
        variant: one that it has.
        threads: that one batch runs on, on the CPU.
        device: cpu, cuda or tensorrt.
        cache: the folder under which TensorRT's engines are kept.

    Raises:
        BadBundle: it cannot be loaded, is not of the manifest's shapes, or answers otherwise.
        NoRuntime: ONNX Runtime cannot start on the device.
    """
    runtime = OnnxRuntime(bundle, variant, threads, device, cache)
    if device != CPU:
        _warm_up(runtime, bundle.shape, device)
    check_golden(bundle, variant, runtime)
    return runtime


def _session(
    bundle: Bundle, variant: str, threads: int, device: str, cache: Path | None
) -> onnxruntime.InferenceSession:
    if device == CPU:
        return _on_cpu(bundle, variant, threads)
    devices.preload()
    engines = cache / "tensorrt" / f"{bundle.sha256}-{variant}" if cache and device == devices.TENSORRT else None
    if engines:
        engines.mkdir(parents=True, exist_ok=True)
    wanted = devices.providers(device, variant, engines)
    onnxruntime.set_default_logger_severity(SILENT)  # of a provider that does not start, it would print pages
    try:
        content = bundle.variant_file(variant).read_bytes()
        # Without this, a session that fails on the GPU, now or later, goes on on the CPU and prints so.
        session = onnxruntime.InferenceSession(content, _options(threads), providers=wanted, enable_fallback=0)
    except Exception as error:  # as in `run`
        _on_cpu(bundle, variant, threads)  # raises when the file is at fault
        raise _cannot_start(device, _line(error)) from error
    finally:
        onnxruntime.set_default_logger_severity(WARNINGS)
    if session.get_providers()[0] != PROVIDERS[device]:
        raise _cannot_start(device, devices.why_not(device))
    return session


def _on_cpu(bundle: Bundle, variant: str, threads: int) -> onnxruntime.InferenceSession:
    try:
        content = bundle.variant_file(variant).read_bytes()
        return onnxruntime.InferenceSession(content, _options(threads), providers=[PROVIDERS[CPU]])
    except Exception as error:  # as in `run`
        raise BadBundle(f"{bundle.name}@{bundle.version}: the ONNX file cannot be loaded ({error})") from error


def _warm_up(runtime: OnnxRuntime, shape: tuple[int, int, int], device: str) -> None:
    """Meet every size of batch once: the first run of each takes a GPU's libraries up to seconds, TensorRT minutes."""
    try:
        for size in devices.sizes(GPU_BATCH):
            runtime.run(np.zeros((size, *shape), np.uint8))
    except EngineFailed as error:  # without cuDNN, for one, a session starts and its convolutions do not
        raise _cannot_start(device, str(error)) from error


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads answer a lone request sooner and steal the core from the one that decodes the next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights that a graph says lie in another file would be read from the working directory: nobody sealed those.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def _cannot_start(device: str, why: str) -> NoRuntime:
    needs = "TensorRT's libraries, " if device == devices.TENSORRT else ""
    return NoRuntime(
        f"ONNX Runtime cannot start on {device} ({why}); it needs {needs}an NVIDIA GPU with its driver, which "
        "nvidia-smi shows, and CUDA and cuDNN, which pip install 'tintype[gpu]' brings; or set TINTYPE_DEVICE=cpu"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_ends(bundle: Bundle, session: onnxruntime.InferenceSession) -> None:
    """Refuse a graph that takes or gives something else than the manifest says."""
    takes = [(each.name, each.type, *each.shape[1:]) for each in session.get_inputs()]
    gives = {each.name: (each.type, *each.shape[1:]) for each in session.get_outputs()}
    wanted = (INPUT, "tensor(uint8)", *bundle.shape)
    if takes != [wanted]:
        raise BadBundle(f"{bundle.name}@{bundle.version}: the graph takes {takes}; its manifest says {[wanted]}")
    classes = len(bundle.labels)
    if gives.get(OUTPUT) != ("tensor(float)", classes):
        came = gives.get(OUTPUT, "no such output")
        raise BadBundle(f"{bundle.name}@{bundle.version}: {OUTPUT} must be float of {classes} labels; it is {came}")
