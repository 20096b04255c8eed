"""How good a model is on one part of the data."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.calibration import DIGITS, calibration
from training.learning.feed import Examples, Feed

BATCH = 256


@dataclass(frozen=True)
class Evaluation:
    """`probabilities` float32 (N, classes) of the part's pictures, and the `metrics` of metrics.json."""

    probabilities: NDArray[np.float32]
    metrics: dict[str, Any]


def evaluate(model: keras.Model, examples: Examples, labels: list[str]) -> Evaluation:
    """Judge the model on examples that it has not learnt from."""
    return judge(model.predict(Feed(examples, BATCH), verbose=0), examples.true, labels)


def judge(probabilities: NDArray[np.float32], true: NDArray[np.int64], labels: list[str]) -> Evaluation:
    """Judge probabilities, (N, classes), by the true classes, (N,).

    The metrics: {"accuracy", "loss" (cross-entropy alone), "per_class", "confusion_matrix" (rows true, columns
    predicted), "calibration" (see `training.calibration`)}.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = probabilities.argmax(1)
    numbers = range(len(labels))
    columns = precision_recall_fscore_support(true, predicted, labels=numbers, zero_division=0.0)
    metrics = {
        "accuracy": round(float(np.mean(true == predicted)), DIGITS),
        "loss": round(_cross_entropy(probabilities, true), DIGITS),
        "per_class": {label: _row(*row) for label, *row in zip(labels, *columns, strict=True)},
        "confusion_matrix": confusion_matrix(true, predicted, labels=numbers).tolist(),
        "calibration": calibration(probabilities, true),
    }
    return Evaluation(probabilities, metrics)


def _cross_entropy(probabilities: NDArray[np.float32], true: NDArray[np.int64]) -> float:
    given = probabilities[np.arange(len(true)), true].astype(np.float64)
    return float(-np.log(np.maximum(given, np.finfo(np.float32).tiny)).mean())


def _row(precision: float, recall: float, f1: float, support: int) -> dict[str, float]:
    scores = {"precision": precision, "recall": recall, "f1": f1}
    return {**{key: round(float(value), DIGITS) for key, value in scores.items()}, "support": int(support)}
