"""The SavedModel of a version, in TensorFlow, in this process: full precision, on the CPU or an NVIDIA GPU.

TensorFlow is imported when the first model is opened: measured at 3 to 6 s and 720 MB of memory for each process. Its
threads belong to the process, not to a batch: all batches that run at once share them. On two cores, two threads for
one process that runs two batches at once gave 1.4 times what one gave, and cost twice the processor time at batch 1.
"""

import os
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.bundle import INPUT, OUTPUT, Bundle
from artifacts.errors import BadBundle
from artifacts.quiet import native_output_hidden
from artifacts.tf_serving import GRAPH
from serving.engine.devices import CPU, CUDA, GPU
from serving.engine.runtime import BASE, check_golden, finite
from serving.errors import EngineFailed, NoRuntime

SIGNATURE = "serving_default"


class SavedModelRuntime:
    """One loaded SavedModel. `run` may be called from several threads at once (a concrete function's call may)."""

    def __init__(self, bundle: Bundle, device: str, threads: int) -> None:
        self._tensorflow = _tensorflow(device, threads)
        self.device = CPU if device == CPU else f"{CUDA}:{GPU}"
        try:
            self._loaded = self._tensorflow.saved_model.load(str(bundle.path))  # it keeps the variables alive
            self._signature = self._loaded.signatures[SIGNATURE]
        except Exception as error:  # whatever TensorFlow makes of damaged files
            raise BadBundle(f"{bundle.name}@{bundle.version}: the SavedModel cannot be loaded ({error})") from error
        self._check_ends(bundle)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (N, classes), of pictures, uint8 (N, height, width, channels).

        Raises:
            EngineFailed: TensorFlow raised, or the model gave what is no number.
        """
        try:
            answers = self._signature(**{INPUT: self._tensorflow.constant(pixels)})
            probabilities: NDArray[np.float32] = answers[OUTPUT].numpy()
        except Exception as error:
            raise EngineFailed(f"TensorFlow failed on {len(pixels)} pictures ({error})") from error
        return finite(probabilities)

    def _check_ends(self, bundle: Bundle) -> None:
        """Refuse a graph that takes or gives something else than the manifest says."""
        takes = {name: _end(spec) for name, spec in self._signature.structured_input_signature[1].items()}
        gives = {name: _end(spec) for name, spec in self._signature.structured_outputs.items()}
        for ends, name, wanted in (
            (takes, INPUT, ("uint8", *bundle.shape)),
            (gives, OUTPUT, ("float32", len(bundle.labels))),
        ):
            if ends.get(name) != wanted or (ends is takes and len(takes) > 1):
                raise BadBundle(
                    f"{bundle.name}@{bundle.version}: {SIGNATURE} of the SavedModel must have {name} of {wanted}, as "
                    f"the manifest says; it has {ends}"
                )


def open_saved_model(bundle: Bundle, device: str, threads: int) -> SavedModelRuntime:
    """Load the SavedModel, and prove on the golden pictures that it answers as the Keras model did.

    Args:
        bundle: an opened version.
        device: cpu or cuda.
        threads: that all batches of this process run on, on the CPU, as the first model that is opened has it.

    Raises:
        BadBundle: there is none, it cannot be loaded, is not of the manifest's shapes, or answers otherwise.
        NoRuntime: TensorFlow sees no GPU, and one is asked for.
        ImportError: TensorFlow is not installed.
    """
    check_has_graph(bundle)
    runtime = SavedModelRuntime(bundle, device, threads)
    check_golden(bundle, BASE, runtime, of_keras=True)
    return runtime


def check_has_graph(bundle: Bundle) -> None:
    """Refuse a version without a SavedModel, such as one that was imported from ONNX.

    Raises:
        BadBundle: it has none.
    """
    if not (bundle.path / GRAPH).is_file():
        why = bundle.manifest.get("saved_model", {}).get("absent", f"it has no {GRAPH}")
        raise BadBundle(f"{bundle.name}@{bundle.version} has no SavedModel ({why}); unset TINTYPE_RUNTIME")


@cache
def _tensorflow(device: str, threads: int) -> Any:  # noqa: ANN401 - TensorFlow has no types
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only
    with native_output_hidden():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    if device == CUDA and not gpus:
        build = "sees no GPU" if tf.test.is_built_with_cuda() else "is built without CUDA"
        raise NoRuntime(
            f"this TensorFlow {build}, and TINTYPE_RUNTIME=saved_model is to use one; it needs an NVIDIA GPU with its "
            "driver, which nvidia-smi shows, and pip install 'tensorflow[and-cuda]'; or set TINTYPE_DEVICE=cpu"
        )
    with suppress(RuntimeError):  # it has begun in this process already, and its threads and devices are settled
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.config.set_visible_devices(gpus[GPU : GPU + 1] if device == CUDA else [], "GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)  # else one process takes the whole GPU
        tf.config.experimental.enable_tensor_float_32_execution(False)  # fp32 means fp32
    return tf


def _end(spec: Any) -> tuple[str | int, ...]:  # noqa: ANN401 - a tf.TensorSpec
    return spec.dtype.name, *spec.shape[1:]
