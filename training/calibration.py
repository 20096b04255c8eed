"""Whether a confidence of 90 % is right in nine of ten cases.

Bins and expected calibration error (ECE) as in C. Guo et al., "On Calibration of Modern Neural Networks", 2017.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10  # of equal width, each without its lower and with its upper limit
DIGITS = 6  # of every figure


def calibration(probabilities: NDArray[np.floating], true: NDArray[np.integer]) -> dict[str, Any]:
    """Compare the confidence in the answers with how many of them are right.

    Args:
        probabilities: (N, classes), N at least 1.
        true: (N,), class numbers.

    Returns:
        {"ece": mean of |accuracy - confidence| over the pictures, each taken at its bin's figures; "confidence": their
        mean confidence; "bins": [{"lower", "upper", "count", "confidence", "accuracy"}, …] without the empty ones}.
    """
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == true
    edges = np.arange(BINS + 1) / BINS
    places = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, BINS - 1)
    bins = [_bin(place, confidence[places == place], right[places == place]) for place in np.unique(places).tolist()]
    ece = sum(each["count"] * abs(each["accuracy"] - each["confidence"]) for each in bins) / len(true)
    return {"ece": round(ece, DIGITS), "confidence": round(float(confidence.mean()), DIGITS), "bins": bins}


def _bin(place: int, confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "lower": round(place / BINS, DIGITS),
        "upper": round((place + 1) / BINS, DIGITS),
        "count": len(confidence),
        "confidence": round(float(confidence.mean()), DIGITS),
        "accuracy": round(float(right.mean()), DIGITS),
    }
