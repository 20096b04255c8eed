"""ONNX Runtime on the CPU."""

import logging
import os

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifacts.bundle import INPUT, OUTPUT, Bundle
from artifacts.errors import BadBundle
from artifacts.pictures import Pictures
from serving.errors import EngineFailed

# How far a probability may be from the one that was measured at the export: another machine rounds otherwise, and int8
# rounds in wide steps. A processor on which int8 overflows is far beyond that.
GOLDEN_TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1e-1}
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
        # Weights that a graph says lie in another file would be read from the working directory: nobody sealed those.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            model = bundle.variant_file(variant).read_bytes()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no base class of its own errors
            raise BadBundle(f"{bundle.name}@{bundle.version}: the ONNX file cannot be loaded ({error})") from error
        _check_ends(bundle, self._session)
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
        BadBundle: it cannot be loaded, is not of the manifest's shapes, or answers otherwise.
    """
    version = f"{bundle.name}@{bundle.version}"
    runtime = OnnxRuntime(bundle, variant, threads)
    golden = Pictures.load(bundle.golden_file)
    expected = golden.answers.get(variant, golden.probabilities)
    if expected is None or expected.shape != (len(golden.encoded), len(bundle.labels)) or not len(expected):
        raise BadBundle(f"{version}: golden.npz has no answers for its {len(bundle.labels)} labels")
    checked = golden.part(0, GOLDEN_CHECKED)
    try:
        got = runtime.run(checked.decode(*bundle.shape))
    except Exception as error:  # as above
        raise BadBundle(f"{version} in {variant} cannot answer its golden pictures ({error})") from error
    difference = float(np.abs(got - expected[: len(got)]).max())
    if not difference <= GOLDEN_TOLERANCES[variant]:  # `not <=` also refuses NaN
        raise BadBundle(f"{version} in {variant} answers its golden pictures otherwise, by {difference:.1e}")
    log.info("%s in %s loaded, golden pictures within %.1e", version, variant, difference)
    return runtime


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
