"""What every runtime offers, and the proof that it answers here as the model did where it was exported."""

import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from artifacts.bundle import Bundle
from artifacts.errors import BadBundle
from artifacts.manifest import PRECISIONS
from artifacts.pictures import Pictures
from serving.errors import DeadlineExceeded, EngineFailed, NoModel, QueueFull

BASE = PRECISIONS[0]  # full precision: the variant that answers as the model itself does
# How far a probability may be from the one that was measured at the export: another machine rounds otherwise, and int8
# rounds in wide steps. A processor on which int8 overflows is far beyond that.
GOLDEN_TOLERANCES = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1e-1}
GOLDEN_CHECKED = 16

log = logging.getLogger(__name__)


class Runtime(Protocol):
    """A loaded model, in this process or behind another."""

    device: str  # cpu, cuda:0, tensorrt:0, or remote: wherever TensorFlow Serving runs

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (N, classes), of pictures, uint8 (N, height, width, channels), N at least 1.

        It may be called from several threads at once.

        Raises:
            EngineFailed: the runtime raised, or gave what is no probability.
            NoModel, QueueFull, DeadlineExceeded: another host should answer, and does not.
        """


def finite(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same.

    Raises:
        EngineFailed: the model gave what is no number.
    """
    if not np.isfinite(probabilities).all():
        raise EngineFailed("the model gave a probability that is not a number")
    return probabilities


def check_golden(bundle: Bundle, variant: str, runtime: Runtime, *, of_keras: bool = False) -> None:
    """Prove that a runtime answers a version's golden pictures, before it may answer others.

    Args:
        bundle: the version.
        variant: decides how far off it may be.
        runtime: what is to be proven.
        of_keras: it has to answer as the Keras model, not as the ONNX file of the variant did at the export.

    Raises:
        BadBundle: it answers otherwise, or not at all.
        NoModel, QueueFull, DeadlineExceeded: the host that should answer does not; the version may be in order.
    """
    version = f"{bundle.name}@{bundle.version}"
    golden = Pictures.load(bundle.golden_file)
    expected = golden.probabilities if of_keras else golden.answers.get(variant, golden.probabilities)
    if expected is None or expected.shape != (len(golden.encoded), len(bundle.labels)) or not len(expected):
        raise BadBundle(f"{version}: golden.npz has no answers for its {len(bundle.labels)} labels")
    checked = golden.part(0, GOLDEN_CHECKED)
    try:
        got = runtime.run(checked.decode(*bundle.shape))
    except (NoModel, QueueFull, DeadlineExceeded):
        raise
    except Exception as error:  # whatever a runtime or a decoder makes of files that harm it
        raise BadBundle(f"{version} in {variant} cannot answer its golden pictures ({error})") from error
    difference = float(np.abs(got - expected[: len(got)]).max())
    if not difference <= GOLDEN_TOLERANCES[variant]:  # `not <=` also refuses NaN
        raise BadBundle(f"{version} in {variant} answers its golden pictures otherwise, by {difference:.1e}")
    log.info("%s in %s loaded, on %s, golden pictures within %.1e", version, variant, runtime.device, difference)
