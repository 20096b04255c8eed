"""The parity gate: the same encoded pictures through the original model and through what was made of it.

fp32 must answer as the original does, or nothing is published. fp16 and int8 must agree with it on nearly every label
and cost next to no accuracy, or they are left out.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import ParityFailed
from artifacts.pictures import GOLDEN_PICTURES, Pictures
from artifacts.pixels import area

TOLERANCE = 1e-4  # largest difference of any probability, fp32
AGREEMENT = 0.995  # of the labels, at least, fp16 and int8
FALL = 0.005  # of the accuracy, at most, fp16 and int8
BATCHES = (1, 7)  # a graph can be right at batch 1 and wrong at another; 7 leaves a ragged last batch
SECONDS = 10.0  # that the original model may take to answer
LEAST = 200  # pictures, if there are as many: of fewer, one label is more than the gate allows to differ
MOST_BYTES = 500_000_000  # of decoded pictures
MANY = 32  # the batch in which the pictures beyond the first GOLDEN_PICTURES are sent
WANDERING = 0.1  # of a probability, between two batch sizes of one reduced variant: int8 rounds a step up or down

KERAS = "the Keras model"

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Reference:
    """What the original model says of held-out pictures.

    `pixels`: uint8 (N, height, width, channels), decoded by `artifacts.pixels` from encoded pictures; `expected`:
    float32 (N, classes); `classes`: int64 (N,), what they show, -1 where nobody knows; `original`: the model in words.
    """

    pixels: NDArray[np.uint8]
    expected: NDArray[np.float32]
    classes: NDArray[np.int64]
    original: str = KERAS
    areas: NDArray[np.int64] | None = None  # (N,), pixels of each picture as it was sent

    @classmethod
    def of(cls, predict: Predict, pictures: Pictures, shape: tuple[int, int, int], original: str) -> "Reference":
        """What `predict`, the original model, says of as many pictures as it answers in SECONDS, yet of LEAST."""
        end, most = time.monotonic() + SECONDS, max(LEAST, MOST_BYTES // math.prod(shape))
        pixels, expected = [], []
        for start in range(0, min(len(pictures.encoded), most), MANY):
            if start >= LEAST and time.monotonic() > end:
                break
            pixels.append(pictures.part(start, min(start + MANY, most)).decode(*shape))
            expected.append(predict(pixels[-1]))
        decoded = np.concatenate(pixels)
        count = len(decoded)
        areas = np.array([area(data) for data in pictures.encoded[:count]], np.int64)
        return cls(decoded, np.concatenate(expected), pictures.labels[:count], original, areas)

    def accuracy(self, answers: NDArray[np.float32]) -> float | None:
        """Share of right labels; None where nobody knows what the pictures show."""
        known = self.classes >= 0
        return float((answers.argmax(1) == self.classes)[known].mean()) if known.any() else None


@dataclass(frozen=True)
class Parity:
    """What was measured; it stands in the manifest."""

    max_difference: float
    differing_labels: int
    pictures: int
    batches: tuple[int, ...]
    tolerance: float | None  # of a probability; None: the labels are what counts
    agreement: float
    accuracy_change: float | None

    def to_json(self) -> dict[str, object]:
        """For the manifest."""
        return {**asdict(self), "batches": list(self.batches)}


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a variant: its parity, its accuracy, and why it failed; None when it passed."""

    parity: Parity
    accuracy: float | None
    fault: str | None
    details: dict[str, Any] = field(default_factory=dict)  # of how it was made, for the manifest


def prove(reference: Reference, exports: dict[str, Predict]) -> Verdict:
    """Compare fp32 exports with the original model; `exports`: by name, what runs the exported files.

    Raises:
        ParityFailed: an export answers with another shape, or with what is no number.
    """
    if not exports or not len(reference.pixels):
        count = len(reference.pixels)
        raise ParityFailed(f"{count} pictures and {len(exports)} exports prove nothing; nothing was published")
    verdicts = [_exact(name, predict, reference) for name, predict in exports.items()]
    faults = [each.fault for each in verdicts if each.fault]
    worst = max(verdicts, key=lambda each: (each.parity.differing_labels, each.parity.max_difference))
    largest = max(each.parity.max_difference for each in verdicts)
    parity = Parity(**{**asdict(worst.parity), "max_difference": largest})
    return Verdict(parity, worst.accuracy, faults[0] if faults else None)


def judge(name: str, predict: Predict, reference: Reference) -> Verdict:
    """Compare a variant of reduced precision with the original model.

    Raises:
        ParityFailed: it answers with another shape, or with what is no number.
    """
    answers = _all_answers(name, predict, reference)
    fault = _wandering(name, answers) or _disagreement(name, answers[MANY], reference)
    return _verdict(answers, reference, None, fault)


Answers = dict[int, NDArray[np.float32]]  # by batch size; of MANY for all pictures, of the others for the first ones


def _exact(name: str, predict: Predict, reference: Reference) -> Verdict:
    answers = _all_answers(name, predict, reference)
    verdict = _verdict(answers, reference, TOLERANCE, None)
    for batch, got in answers.items():
        expected = reference.expected[: len(got)]
        difference, labels = float(np.abs(got - expected).max()), _differing(got, expected)
        if difference > TOLERANCE or labels:
            fault = (
                f"{name} differs from {reference.original} at batch {batch}: by {difference:.2e} in a probability "
                f"(at most {TOLERANCE:.0e} is accepted), in {labels} of {len(got)} labels"
            )
            return Verdict(verdict.parity, verdict.accuracy, fault)
    return verdict


def _all_answers(name: str, predict: Predict, reference: Reference) -> Answers:
    pixels = reference.pixels
    if not np.isfinite(reference.expected).all():
        raise ParityFailed(f"{reference.original} answers with what is no number, with which nothing can be compared")
    answers = {}
    for batch in (*BATCHES, MANY):
        sent = pixels if batch == MANY else pixels[:GOLDEN_PICTURES]
        got = np.concatenate([predict(sent[start : start + batch]) for start in range(0, len(sent), batch)])
        expected = (len(sent), *reference.expected.shape[1:])
        if got.shape != expected:
            raise ParityFailed(f"{name} answers with shape {got.shape}; {reference.original} with {expected}")
        if not np.isfinite(got).all():
            raise ParityFailed(f"{name} answers with what is no number at batch {batch}; {reference.original} does not")
        answers[batch] = got
    return answers


def _verdict(answers: Answers, reference: Reference, tolerance: float | None, fault: str | None) -> Verdict:
    expected, got = reference.expected, answers[MANY]
    differing = max(_differing(each, expected[: len(each)]) for each in answers.values())
    largest = max(float(np.abs(each - expected[: len(each)]).max()) for each in answers.values())
    accuracy, original = reference.accuracy(got), reference.accuracy(expected)
    parity = Parity(
        max_difference=largest,
        differing_labels=differing,
        pictures=len(got),
        batches=tuple(answers),
        tolerance=tolerance,
        agreement=1 - _differing(got, expected) / len(got),
        accuracy_change=None if accuracy is None or original is None else accuracy - original,
    )
    return Verdict(parity, accuracy, fault)


def _wandering(name: str, answers: Answers) -> str | None:
    """Why a variant cannot be trusted at every batch size."""
    for batch in BATCHES:
        difference = float(np.abs(answers[batch] - answers[MANY][: len(answers[batch])]).max())
        if difference > WANDERING:
            return f"{name} answers otherwise at batch {batch} than at {MANY}, by {difference:.2f} in a probability"
    return None


def _disagreement(name: str, got: NDArray[np.float32], reference: Reference) -> str | None:
    """Why a variant is not good enough."""
    differing = _differing(got, reference.expected)
    if differing > (1 - AGREEMENT) * len(got):
        share = f"{differing} of {len(got):,} pictures ({differing / len(got):.2%}; at most {1 - AGREEMENT:.1%}"
        return f"{name} gives another label than {reference.original} on {share} is accepted)"
    accuracy, original = reference.accuracy(got), reference.accuracy(reference.expected)
    # Rounded, for 0.9 - 0.895 is more than 0.005 to a computer.
    if accuracy is not None and original is not None and round(original - accuracy, 9) > FALL:
        fall = f"{100 * (original - accuracy):.2f} points (at most {100 * FALL:.1f}"
        return f"{name} lowers the accuracy by {fall} are accepted), from {original:.4f} to {accuracy:.4f}"
    return None


def _differing(got: NDArray[np.float32], expected: NDArray[np.float32]) -> int:
    return int((got.argmax(1) != expected.argmax(1)).sum())
