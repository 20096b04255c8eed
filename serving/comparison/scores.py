"""How good answers are, by the names of the labels: two models need not have the same ones."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import WrongUse

PER_CLASS = ("recall", "precision", "f1")
DIGITS = 6  # of a figure that is written down


@dataclass(frozen=True)
class Answers:
    """What a model says of N pictures: `labels`, N names; `confidences`, float32 (N,); `of_true`, float32 (N,).

    `of_true` is the probability of what a picture does show; 0 where the model does not know that class.
    """

    labels: list[str]
    confidences: NDArray[np.float32]
    of_true: NDArray[np.float32]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], labels: list[str], truth: list[str]) -> "Answers":
        """Read probabilities, float32 (N, classes), whose classes are `labels`; `truth`: N names."""
        places = {label: place for place, label in enumerate(labels)}
        columns = np.array([places.get(label, -1) for label in truth], dtype=np.int64)
        rows = np.arange(len(truth))
        given = np.where(columns >= 0, probabilities[rows, np.maximum(columns, 0)], 0).astype(np.float32)
        best = probabilities.argmax(1)
        return cls([labels[place] for place in best], probabilities[rows, best], given)


@dataclass(frozen=True)
class Scores:
    """Figures of one model; `per_class`: {label: {"pictures", "recall", "precision", "f1"}} of what the pictures show.

    A class that the model does not know counts as wrong: its recall is 0, and so is the probability of it.
    """

    accuracy: float
    loss: float  # cross-entropy
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, answers: Answers, truth: list[str]) -> "Scores":
        """Judge answers by what the pictures show."""
        true, given = np.array(truth), np.array(answers.labels)
        loss = -np.log(np.maximum(answers.of_true.astype(np.float64), np.finfo(np.float32).tiny)).mean()
        per_class = {label: _figures(true == label, given == label) for label in sorted(set(truth))}
        return cls(round(float((true == given).mean()), DIGITS), round(float(loss), DIGITS), per_class)

    def figure(self, metric: str, label: str | None) -> float:
        """accuracy, loss, or one of PER_CLASS: of a class, or without a label the mean over the classes.

        Raises:
            WrongUse: no picture shows the class.
        """
        if metric in ("accuracy", "loss"):
            return self.accuracy if metric == "accuracy" else self.loss
        if label is None:
            return float(np.mean([each[metric] for each in self.per_class.values()]))
        if label not in self.per_class:
            have = ", ".join(list(self.per_class)[:20])
            raise WrongUse(f"none of the held-out pictures shows {label!r}; they show: {have}")
        return self.per_class[label][metric]

    def to_json(self) -> dict[str, Any]:
        """For the file of the comparison."""
        return vars(self)


def _figures(true: NDArray[np.bool_], given: NDArray[np.bool_]) -> dict[str, float]:
    right = int((true & given).sum())
    recall = right / int(true.sum())
    precision = right / int(given.sum()) if given.any() else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    rounded = {"recall": round(recall, DIGITS), "precision": round(precision, DIGITS), "f1": round(f1, DIGITS)}
    return {"pictures": int(true.sum()), **rounded}
