"""What pictures, and a model's answers to them, are like: counted in a few bins for each of four features.

A bundle carries the census of its held-out pictures, and a server compares with it what it is asked.

    label        the most likely label
    confidence   its probability, in tenths
    brightness   the mean of the decoded pixels, 0 to 255, in sixteenths
    size         the root of the number of pixels as sent, in steps of a quarter of an octave

A bin is named by its lower end, and one that nothing fell into is not there.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LABEL, CONFIDENCE, BRIGHTNESS, SIZE = FEATURES = ("label", "confidence", "brightness", "size")
TENTHS = 10  # of a probability
WIDTH = 16  # of a bin of brightness
STEPS = 4  # in a doubling of the size
MOST_BINS = 100_000  # of a feature, in a manifest: a model has fewer labels


class Look(NamedTuple):
    """One picture, and its answer."""

    label: str
    confidence: float  # 0 to 1
    brightness: float  # 0 to 255
    area: int  # pixels, as sent


@dataclass
class Census:
    """How many pictures fell into each bin, by feature."""

    bins: dict[str, Counter[str]] = field(default_factory=lambda: {feature: Counter() for feature in FEATURES})

    def add(self, look: Look) -> None:
        """Count one picture."""
        for feature, name in zip(FEATURES, _bins(look), strict=True):
            self.bins[feature][name] += 1

    def update(self, other: "Census") -> None:
        """Count all that another has counted."""
        for feature in FEATURES:
            self.bins[feature].update(other.bins[feature])

    @property
    def pictures(self) -> int:
        """How many were counted."""
        return self.bins[CONFIDENCE].total()

    def to_json(self) -> dict[str, dict[str, int]]:
        """For a manifest: the bins of each feature, in their order."""
        return {feature: dict(sorted(counts.items(), key=_order(feature))) for feature, counts in self.bins.items()}

    @classmethod
    def of_json(cls, told: Mapping[str, Mapping[str, int]]) -> "Census":
        """What `to_json` gave."""
        return cls({feature: Counter(told[feature]) for feature in FEATURES})


def census(
    pixels: NDArray[np.uint8], probabilities: NDArray[np.float32], areas: NDArray[np.int64], labels: list[str]
) -> Census:
    """That of decoded pictures, uint8 (N, H, W, C), with their answers, (N, classes), and their areas as sent, (N,)."""
    counted = Census()
    best = probabilities.argmax(1)
    sure = probabilities.max(1)
    for picture, number, confidence, area in zip(pixels, best.tolist(), sure.tolist(), areas.tolist(), strict=True):
        counted.add(Look(labels[number], confidence, brightness(picture), area))
    return counted


def brightness(pixels: NDArray[np.uint8]) -> float:
    """The mean of a picture's pixels, 0 to 255."""
    return int(pixels.sum(dtype=np.uint64)) / pixels.size


def fault(told: object) -> str | None:
    """What is wrong with a census that came from outside; None when it is one."""
    if not isinstance(told, dict) or set(told) != set(FEATURES):
        return f"must have {', '.join(FEATURES)}"
    for feature, counts in told.items():
        if not isinstance(counts, dict) or not 0 < len(counts) <= MOST_BINS:
            return f"must have bins under {feature}"
        if not all(isinstance(name, str) for name in counts) or not all(map(_is_count, counts.values())):
            return f"must have whole numbers from 1 on under {feature}"
        if feature != LABEL and not all(map(_is_number, counts)):
            return f"must name the bins of {feature} by their lower ends"
    return None


def ordered(feature: str, names: Iterable[str]) -> list[str]:
    """Names of bins from low to high; labels as they come."""
    return list(names) if feature == LABEL else sorted(names, key=float)


def _bins(look: Look) -> tuple[str, str, str, str]:
    tenth = min(int(look.confidence * TENTHS), TENTHS - 1)
    step = math.floor(STEPS * math.log2(look.area) / 2)  # a power of two has an exact logarithm
    return look.label, str(tenth / TENTHS), str(int(look.brightness) // WIDTH * WIDTH), str(round(2 ** (step / STEPS)))


def _order(feature: str) -> Any:  # noqa: ANN401 - the key of a sort
    return None if feature == LABEL else lambda item: float(item[0])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53


def _is_number(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False
