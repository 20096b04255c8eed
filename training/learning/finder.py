"""The learning-rate finder: a rate that rises with every batch shows where the loss falls, and where it breaks out.

L. Smith, "Cyclical learning rates for training neural networks", 2015; the values are fastai's.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from artifacts import files
from artifacts.errors import TintypeError
from training.config import Recipe
from training.learning.augment import augmented
from training.learning.feed import Examples, Feed
from training.learning.loss import cross_entropy
from training.learning.optimizers import optimizer
from training.learning.schedules import Paces

FILE = "rates.json"
LOWEST, HIGHEST = 1e-7, 10.0
BATCHES = 100
SMOOTH = 0.98  # weight of the past in the smoothed loss
BROKEN_OUT = 4  # times the lowest loss: what comes after tells nothing
BELOW_LOWEST = 0.1  # of the rate of the lowest loss is suggested


@dataclass(frozen=True)
class Finder:
    """`rates` and smoothed `losses`, one a batch; `suggestion`: a rate for the recipe."""

    rates: list[float]
    losses: list[float]
    suggestion: float


def find(model: keras.Model, train: Examples, recipe: Recipe) -> Finder:
    """Try the rates on `model`, which is of no use afterwards.

    Raises:
        TintypeError: the loss was no number from the first batches on.
    """
    rates = np.geomspace(LOWEST, HIGHEST, BATCHES)
    wrapper = augmented(model, recipe.augment)
    wrapper.compile(optimizer(recipe.optimizer, Paces(rates)), cross_entropy(recipe.label_smoothing))
    feed = Feed(train, recipe.batch_size, recipe.seed)
    smoothed, losses = 0.0, []
    for number in tqdm(range(BATCHES), "looking for a learning rate", disable=None, leave=False, file=sys.stderr):
        if number % len(feed) == 0:
            feed.shuffle(number // len(feed))
        loss = float(wrapper.train_on_batch(*feed[number % len(feed)], return_dict=True)["loss"])
        wrapper.reset_metrics()
        smoothed = SMOOTH * smoothed + (1 - SMOOTH) * loss
        unbiased = smoothed / (1 - SMOOTH ** (number + 1))
        if not math.isfinite(unbiased) or (losses and unbiased > BROKEN_OUT * min(losses)):
            break
        losses.append(unbiased)
    if not losses:
        raise TintypeError("the loss is no number at the lowest learning rate already; look at the pictures")
    return Finder(rates[: len(losses)].tolist(), losses, suggestion(rates, losses))


def suggestion(rates: np.ndarray, losses: list[float]) -> float:
    """A tenth of the rate at the lowest loss: J. Howard and S. Gugger, "Deep Learning for Coders", 2020, chapter 5."""
    return float(f"{rates[int(np.argmin(losses))] * BELOW_LOWEST:.2g}")


def write(folder: Path, found: Finder) -> None:
    """Keep it with the run."""
    files.write_json(folder / FILE, asdict(found))


def read(folder: Path) -> Finder | None:
    """What was kept, if the rate was looked for."""
    file = folder / FILE
    return Finder(**json.loads(file.read_bytes())) if file.exists() else None
