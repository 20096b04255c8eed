"""One verdict on a training, and the evidence that all verdicts are drawn from."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from training.learning.activations import Activations
from training.learning.state import Row

Level = Literal["bad", "warn", "note", "good"]
LEVELS: tuple[Level, ...] = ("bad", "warn", "note", "good")  # in the order in which a person reads them

Z = 1.959964  # of the 95 % interval
LAST = 0.25  # share of the epochs, or moments, that count as the end
LITTLE_SKILL = 0.1  # below it, nothing worth the name was learnt
MANY_TIMES = 3  # the pictures of the smallest class


@dataclass(frozen=True)
class Finding:
    """`text`: plain sentences. `figures`: name -> what was measured. `advice`: what to try next, the best first."""

    level: Level
    title: str
    text: str
    figures: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Evidence:
    """What a training left behind, as far as verdicts ask for it."""

    config: dict[str, Any]  # the recipe's keys, as in config.toml
    labels: list[str]
    history: list[Row]
    best_epoch: int  # from 1
    activations: Activations
    rates: list[float]  # learning rate of every batch
    validation: dict[str, Any]  # metrics, as `training.evaluate` makes them
    test: dict[str, Any]
    pictures: list[int]  # to learn from, of each class
    dropout: float = 0.0  # the largest share that a layer of the network drops
    normalised: bool = False  # has batch normalisation
    leaked: int = 0  # test pictures that are in another part too
    contradictions: int = 0  # pictures that came under more than one label
    stopped: str = ""  # why the training ended early
    suggestion: float | None = None  # of the learning-rate finder


def share(value: float) -> str:
    """0.1234 -> `12.3 %`."""
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """0.1234 -> `12.3 points`: what lies between two shares."""
    return f"{100 * value:.1f} points"


def total(metrics: dict[str, Any]) -> int:
    """Pictures that were judged."""
    return int(np.sum(metrics["confusion_matrix"]))


def guessing(metrics: dict[str, Any]) -> float:
    """Accuracy of who always answers the most frequent class; at least that of chance."""
    counts = np.sum(metrics["confusion_matrix"], axis=1)
    return float(counts.max() / counts.sum())


def skill(metrics: dict[str, Any]) -> float:
    """0: as good as always answering the most frequent class; 1: always right. Below 0: worse than that."""
    base = guessing(metrics)
    return (metrics["accuracy"] - base) / (1 - base) if base < 1 else 0.0


def interval(accuracy: float, count: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy measured on `count` pictures (E. B. Wilson, 1927)."""
    weight = Z**2 / count
    middle = (accuracy + weight / 2) / (1 + weight)
    half = Z * (accuracy * (1 - accuracy) / count + weight / (4 * count)) ** 0.5 / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def failed(test: dict[str, Any]) -> bool:
    """Whether the answers are hardly better than always naming the most frequent class."""
    lowest, _ = interval(test["accuracy"], total(test))
    return lowest <= guessing(test) or skill(test) < LITTLE_SKILL


def uneven(pictures: list[int]) -> bool:
    """Whether the largest class has many times the pictures of the smallest."""
    return max(pictures) >= MANY_TIMES * max(1, min(pictures))


def longer(evidence: Evidence) -> str:
    """Advice to train longer."""
    return f"more epochs: --set epochs={2 * evidence.config['epochs']}"


def last(values: list[float]) -> list[float]:
    """The end of what was measured over time, at least one value."""
    return values[-max(1, round(LAST * len(values))) :]
