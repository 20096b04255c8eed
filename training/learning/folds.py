"""k-fold cross-validation: how much the accuracy depends on which pictures were held out."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from artifacts import files
from artifacts.errors import BadData
from training.data.dataset import Data
from training.data.split import Rows, by_class, groups_of_copies
from training.learning.feed import Examples
from training.learning.fit import fit

FILE = "folds.json"


def cross_validate(build: Callable[[], keras.Model], data: Data, rows: Rows, folder: Path) -> list[float]:
    """Accuracy of each of the recipe's trainings on the fold of `rows` that it has not seen.

    It is that of the last epoch: choosing the best one by the very fold would flatter it. What is done stands in
    `folder`, so that a resume does not do it again.
    """
    recipe = replace(data.recipe, early_stopping=0)
    done = json.loads((folder / FILE).read_bytes()) if (folder / FILE).exists() else []
    parts = folds(data, rows, recipe.folds)
    for number in range(len(done), recipe.folds):
        rest = np.sort(np.concatenate([part for place, part in enumerate(parts) if place != number]))
        known, unseen = (Examples(data.pixels, data.classes, chosen) for chosen in (rest, parts[number]))
        told = fit(build(), known, unseen, recipe, title=f"fold {number + 1} of {recipe.folds}")
        done.append(round(told.history[-1]["val_accuracy"], 6))
        files.write_json(folder / FILE, done)
    return done


def folds(data: Data, rows: Rows, count: int) -> list[Rows]:
    """`count` parts of `rows`, as equal as can be, each with its share of every class, copies of a picture together.

    Raises:
        BadData: a class has fewer different pictures than there are folds.
    """
    rng = np.random.default_rng(data.recipe.seed)
    parts: list[list[int]] = [[] for _ in range(count)]
    placed: dict[str, int] = {}
    for label, mine in zip(data.labels, by_class(data, rows), strict=True):
        copies = groups_of_copies(data.sha256, rng.permutation(mine))
        if len(copies) < count:
            many = f"{len(copies)} different pictures for {count} folds"
            raise BadData(f"the class {label!r} has {many}; set folds to {len(copies)} or less")
        filled = [0] * count
        for digest, positions in copies.items():
            number = placed.setdefault(digest, filled.index(min(filled)))
            filled[number] += len(positions)
            parts[number] += positions
    return [np.array(sorted(part), dtype=np.int64) for part in parts]
