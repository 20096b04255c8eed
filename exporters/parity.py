"""The parity gate: the same encoded pictures through Keras, SavedModel and ONNX, or nothing is published."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import ParityFailed

TOLERANCE = 1e-4  # largest difference of any probability, fp32
BATCHES = (1, 7)  # a graph can be right at batch 1 and wrong at another; 7 leaves a ragged last batch

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Parity:
    """What was measured; it stands in the manifest."""

    max_difference: float
    differing_labels: int
    pictures: int
    batches: tuple[int, ...]
    tolerance: float

    def to_json(self) -> dict[str, object]:
        """For the manifest."""
        return {**asdict(self), "batches": list(self.batches)}


def prove(
    pixels: NDArray[np.uint8],
    expected: NDArray[np.float32],
    exports: dict[str, Predict],
    original: str = "the Keras model",
) -> Parity:
    """Compare every export with the answers of the model that it was made from.

    Args:
        pixels: uint8 (N, height, width, channels), decoded by `artifacts.pixels` from encoded pictures.
        expected: float32 (N, classes), what that model says of them.
        exports: by name, what runs the exported files.
        original: that model, in words.

    Raises:
        ParityFailed: an export has another shape, differs by more than TOLERANCE, or gives another label.
    """
    if not exports or not len(pixels):
        raise ParityFailed(f"{len(pixels)} pictures and {len(exports)} exports prove nothing; nothing was published")
    worst, differing = 0.0, 0
    for name, predict in exports.items():
        for batch in BATCHES:
            difference, labels = _compare(name, _in_batches(predict, pixels, batch), expected, original)
            if not difference <= TOLERANCE or labels:  # `not <=` also refuses NaN
                raise ParityFailed(
                    f"{name} differs from {original} at batch {batch}: by {difference:.2e} in a probability "
                    f"(at most {TOLERANCE:.0e} is accepted), in {labels} of {len(pixels)} labels; nothing was published"
                )
            worst, differing = max(worst, difference), max(differing, labels)
    return Parity(worst, differing, len(pixels), BATCHES, TOLERANCE)


def _in_batches(predict: Predict, pixels: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    return np.concatenate([predict(pixels[start : start + batch]) for start in range(0, len(pixels), batch)])


def _compare(name: str, got: NDArray[np.float32], expected: NDArray[np.float32], original: str) -> tuple[float, int]:
    if got.shape != expected.shape:
        raise ParityFailed(f"{name} answers with shape {got.shape}; {original} with {expected.shape}")
    return float(np.abs(got - expected).max()), int((got.argmax(1) != expected.argmax(1)).sum())
