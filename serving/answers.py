"""Probabilities as a person reads them: label, confidence, the most likely labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP_K = 5  # labels in an answer, unless a request says otherwise
DECIMALS = 6  # of a confidence: more than the tolerance of the parity gate can stand for

FEW = 64  # labels
_SCALE = 10.0**DECIMALS


def answers(probabilities: NDArray[np.float32], labels: list[str], top_k: int) -> list[dict[str, Any]]:
    """{"label", "confidence", "top": [{"label", "confidence"}, …]}, best first, of each row of float32 (N, classes)."""
    if len(probabilities) == 1 and len(labels) <= FEW:  # a lone picture: plain Python takes half as long as NumPy
        row = probabilities[0].tolist()
        best = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:top_k]
        return [_answer(best, [round(row[index] * _SCALE) / _SCALE for index in best], labels)]
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    confidences = np.take_along_axis(probabilities, order, axis=1).astype(np.float64).round(DECIMALS)
    return [_answer(row, shares, labels) for row, shares in zip(order.tolist(), confidences.tolist(), strict=True)]


def _answer(order: list[int], confidences: list[float], labels: list[str]) -> dict[str, Any]:
    pairs = zip(order, confidences, strict=True)
    top = [{"label": labels[index], "confidence": confidence} for index, confidence in pairs]
    return {**top[0], "top": top}
