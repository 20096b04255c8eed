"""ONNX Runtime on the CPU."""

import logging

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifacts.bundle import INPUT, OUTPUT, Bundle
from artifacts.errors import BadBundle
from artifacts.pictures import Pictures
from serving.errors import EngineFailed

GOLDEN_TOLERANCE = 1e-3  # another machine rounds otherwise; the gate's own tolerance held where the bundle was made
GOLDEN_CHECKED = 16

log = logging.getLogger(__name__)


class OnnxRuntime:
    """One session. `run` may be called from several threads at once (ONNX Runtime's `Run` is thread-safe)."""

    def __init__(self, bundle: Bundle, variant: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads answer a lone request sooner and steal the core from the one that decodes the next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            model = bundle.variant_file(variant).read_bytes()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no base class of its own errors
            raise BadBundle(f"{bundle.name}@{bundle.version}: the ONNX file cannot be loaded ({error})") from error
        self._outputs = [OUTPUT]

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (N, classes), of pictures, uint8 (N, height, width, channels).

        Raises:
            EngineFailed: the model gave what is no number.
        """
        probabilities: NDArray[np.float32] = self._session.run(self._outputs, {INPUT: pixels})[0]
        if not np.isfinite(probabilities).all():
            raise EngineFailed("the model gave a probability that is not a number")
        return probabilities


def check_answers(bundle: Bundle) -> None:
    """Prove that every variant of a bundle answers its golden pictures here, before it goes live.

    Raises:
        BadBundle: one does not.
    """
    for variant in bundle.manifest["variants"]:
        open_onnx(bundle, variant, threads=1)


def open_onnx(bundle: Bundle, variant: str, threads: int) -> OnnxRuntime:
    """Load a variant, and prove on the golden pictures that it answers here as it did where it was made.

    Raises:
        BadBundle: it cannot be loaded, or answers otherwise.
    """
    runtime = OnnxRuntime(bundle, variant, threads)
    golden = Pictures.load(bundle.golden_file)
    checked = Pictures(golden.encoded[:GOLDEN_CHECKED], golden.names, golden.labels)
    expected = golden.probabilities
    if expected is None or expected.shape[1] != len(bundle.labels):
        raise BadBundle(
            f"{bundle.name}@{bundle.version}: golden.npz has no answers for its {len(bundle.labels)} labels"
        )
    try:
        got = runtime.run(checked.decode(*bundle.shape))
    except Exception as error:  # as above
        raise BadBundle(f"{bundle.name}@{bundle.version} cannot answer its golden pictures ({error})") from error
    if got.shape[1:] != expected.shape[1:]:
        raise BadBundle(f"{bundle.name}@{bundle.version} answers {got.shape[1]} classes; expected {expected.shape[1]}")
    difference = float(np.abs(got - expected[: len(got)]).max())
    if not difference <= GOLDEN_TOLERANCE:  # `not <=` also refuses NaN
        raise BadBundle(f"{bundle.name}@{bundle.version} answers its golden pictures otherwise, by {difference:.1e}")
    log.info("%s@%d loaded, golden pictures within %.1e", bundle.name, bundle.version, difference)
    return runtime
