"""What a model that was made elsewhere is proven and judged on: labelled pictures or, without them, generated ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from artifacts import files, pixels
from artifacts.errors import BadData
from artifacts.foreign import Evidence, Predict, Shape
from artifacts.pictures import LEAST, Pictures
from training.config import Recipe
from training.data import encoded, split
from training.data.dataset import Data
from training.data.sources import load

BATCH = 256
TRIED = 2000  # validation pictures that a scaling is tried on
GENERATED = 64
CELLS = 8  # most patches of a generated picture along a side
UNKNOWN = -1  # the class of a picture that shows nothing
NOT_MEASURED = {"accuracy": None, "loss": None}


def labelled(data: str, shape: Shape, labels: list[str], data_dir: Path | None, cache: Path) -> Evidence:
    """Pictures of `data`, divided as `tintype train` divides them; those of the test part are the held-out ones.

    Raises:
        WrongUse: there is no such data, or it lacks a label.
        BadData: the pictures are missing or damaged.
    """
    recipe = Recipe(0, BATCH, "none", 0.0, input=shape, labels=tuple(labels))  # nothing is trained
    pictures = load(data, lambda _: recipe, data_dir, cache)
    if len(pictures.files) < LEAST:
        raise BadData(f"{data} has {len(pictures.files)} readable pictures; at least {LEAST} are needed")
    divided = split.divide(pictures)
    text = split.write(pictures, divided)

    def judged(predict: Predict) -> dict[str, Any]:
        parts = ("validation", "test")
        return {part: _metrics(predict, pictures, divided[part], f"judging on {part}") for part in parts}

    def trial(predict: Predict) -> tuple[float, float]:
        metrics = _metrics(predict, pictures, divided["validation"][:TRIED], "trying a scaling")
        return metrics["accuracy"], metrics["loss"]

    source = f"{data}, which the model may have been trained on"
    return Evidence(
        encoded.held_out(pictures, divided),
        source,
        json.loads(text)["digest"],
        text,
        judged,
        trial,
        test=encoded.of_test(pictures, divided),
        training=encoded.of_training(pictures, divided),
    )


def generated(shape: Shape) -> Evidence:
    """Smooth random pictures, the same each time: they prove that exports agree, and say nothing of accuracy."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(GENERATED):
        cells = 2 + number % (CELLS - 1)
        patches = rng.integers(0, 256, (cells, cells, shape[2]), np.uint8)
        made.append(pixels.encode_png(pixels.resize(patches, *shape[:2])))
    names = [f"generated-{number:02d}.png" for number in range(GENERATED)]
    digest = files.sha256(b"".join(made))
    text = json.dumps({"train": [], "validation": [], "test": [], "skipped": [], "digest": digest}, indent=2) + "\n"
    pictures = Pictures(made, names, np.full(GENERATED, UNKNOWN, np.int64))
    source = f"{GENERATED} generated pictures, since none were given; its accuracy was not measured"
    unmeasured = {"validation": NOT_MEASURED, "test": NOT_MEASURED}
    return Evidence(pictures, source, digest, text, lambda _: unmeasured, None)


def _metrics(predict: Predict, data: Data, rows: NDArray[np.int64], doing: str) -> dict[str, Any]:
    from training.evaluate import judge

    starts = tqdm(range(0, len(rows), BATCH), doing, unit=" batches", disable=None, leave=False, delay=1)
    answers = [predict(data.pixels[rows[start : start + BATCH]]) for start in starts]
    return judge(np.concatenate(answers), data.classes[rows], data.labels).metrics
