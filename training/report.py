"""report.html: one page with everything in it, to be read without a network."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import keras
import numpy as np
from numpy.typing import NDArray

from artifacts import pixels
from training import plots
from training.dataset import Data
from training.evaluate import Evaluation
from training.fit import Fit
from training.split import Split

MISTAKES = 12
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Story:
    """Everything that the page tells of."""

    run_id: str
    config: dict[str, Any]
    data: Data
    split: Split
    model: keras.Model
    fit: Fit
    validation: Evaluation
    test: Evaluation


def render(story: Story) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html").render(
        story=story,
        plots=_plots(story.fit),
        matrix=_matrix(story.test, story.data.labels),
        layers=_layers(story.model),
        mistakes=mistakes(story),
        parts=_parts(story),
    )


def mistakes(story: Story) -> list[dict[str, Any]]:
    """The test pictures that the model was most certain of and wrong about, the worst first, at most MISTAKES."""
    positions, probabilities = story.split["test"], story.test.probabilities
    true, predicted = story.data.classes[positions], probabilities.argmax(1)
    confidence = probabilities.max(1)
    wrong = np.flatnonzero(true != predicted)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    labels = story.data.labels
    return [
        {
            "picture": _data_url(story.data.pixels[positions[n]]),
            "file": story.data.files[positions[n]],
            "true": labels[true[n]],
            "predicted": labels[predicted[n]],
            "confidence": float(confidence[n]),
        }
        for n in worst
    ]


def _plots(fit: Fit) -> list[str]:
    return [
        plots.curves(fit.history, "accuracy", "Accuracy", fit.best_epoch),
        plots.curves(fit.history, "loss", "Loss", fit.best_epoch),
        plots.rates(fit.rates, len(fit.rates) // len(fit.history)),
    ]


def _matrix(test: Evaluation, labels: list[str]) -> list[dict[str, Any]]:
    """A row a true label: its cells carry the count, the share of the row, and whether they are right."""
    rows = []
    for number, (label, counts) in enumerate(zip(labels, test.metrics["confusion_matrix"], strict=True)):
        total = max(1, sum(counts))
        cells = [{"count": n, "share": n / total, "right": place == number} for place, n in enumerate(counts)]
        rows.append({"label": label, "cells": cells})
    return rows


def _layers(model: keras.Model) -> list[dict[str, Any]]:
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "shape": " × ".join(str(size) for size in layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
    ]


def _parts(story: Story) -> list[dict[str, Any]]:
    """A row a label: how many pictures of it are in each part."""
    classes, split = story.data.classes, story.split
    counts = {
        part: np.bincount(classes[positions], minlength=len(story.data.labels)) for part, positions in split.items()
    }
    return [
        {"label": label, "counts": [int(counts[part][number]) for part in split]}
        for number, label in enumerate(story.data.labels)
    ]


def _data_url(picture: NDArray[np.uint8]) -> str:
    return f"data:image/png;base64,{base64.b64encode(pixels.encode_png(picture)).decode()}"
