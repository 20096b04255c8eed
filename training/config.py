"""A recipe: the preset's values, overridden by the person's, every one of them checked.

Values come as text (`--set epochs=3`) or from a preset's TOML and pass through the same readers.
"""

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from artifacts.errors import WrongUse
from training import readers
from training.presets import Preset
from training.readers import Shape

OPTIMIZERS = ("adam", "rmsprop", "sgd")
SCHEDULES = ("constant", "1cycle", "step")
AUGMENTATIONS = ("none", "shift", "shift-flip", "photo")
CLASS_WEIGHTS = ("none", "balanced")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16", "auto")
LARGEST_SHARE = 0.45  # two of them leave something to train on


@dataclass(frozen=True)
class Recipe:
    """How to train. None: the data set, or the architecture, decides."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float  # with 1cycle, the highest
    schedule: str = "constant"
    l1: float = 0.0  # added to the loss: l1 · Σ |w| over the kernels below the output layer
    l2: float = 0.0  # added to the loss: l2 · Σ w² over the same
    dropout: float | None = None  # instead of the architecture's own
    augment: str = "none"
    label_smoothing: float = 0.0
    class_weights: str = "none"  # balanced: each class counts the same, however many pictures it has
    early_stopping: int = 0  # epochs without a better one after which training stops; 0: never
    plateau: int = 0  # epochs without a better loss after which the rate falls by √0.1; 0: never
    precision: str = "float32"  # auto: mixed_float16 where there is a GPU
    folds: int = 0  # cross-validation before the training itself; 0: none
    weights: str = "none"  # of the backbone that is fine-tuned: imagenet, none, or a file
    head_epochs: int = 0  # of `epochs`, in which only the head of a pretrained network is trained
    seed: int = 0
    validation_share: float | None = None
    test_share: float | None = None
    input: Shape | None = None
    labels: tuple[str, ...] | None = None  # only these classes; None: all there are
    unreadable_share: float = 0.1  # of the pictures of a folder, which may be skipped
    memory_mb: int = 4096  # decoded pictures beyond this are kept on the disk

    def to_toml(self) -> dict[str, Any]:
        """For config.toml, which knows no null: what is not set is left out."""
        written = {
            **asdict(self),
            "input": self.input and write_shape(self.input),
            "labels": self.labels and ",".join(self.labels),
        }
        return {key: value for key, value in written.items() if value is not None}


def resolve(preset: Preset, overrides: dict[str, str]) -> Recipe:
    """The preset's recipe with `overrides`.

    Raises:
        WrongUse: keys that do not exist (each with the nearest one), values that make no sense, an input that is too
            small for the model; all of them in one sentence.
    """
    values: dict[str, Any] = {}
    wrong = []
    for key, text in {**preset.recipe, **overrides}.items():
        if key not in READERS:
            near = difflib.get_close_matches(key, READERS, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            wrong.append(f"{key} cannot be set; {meant}What can be set: {', '.join(READERS)}")
            continue
        try:
            values[key] = READERS[key](str(text))
        except ValueError as error:
            wrong.append(f"{key} must be {error}; received {str(text)!r}")
    if "input" in values and min(values["input"][:2]) < preset.smallest:
        wrong.append(_too_small(preset, values["input"]))
    if wrong:
        raise WrongUse("; ".join(wrong))
    return Recipe(**values)


def at_input(recipe: Recipe, preset: Preset, native: Shape | None) -> Recipe:
    """`recipe` with the input decided: as it was set; else the data set's own; else, or too small, the preset's.

    Args:
        recipe: as resolved.
        preset: where it came from.
        native: the shape that all pictures of the data set have, or None where they differ.
    """
    if recipe.input:
        return recipe
    designed = readers.shape(preset.input)
    if native is None:
        return replace(recipe, input=designed)
    if min(native[:2]) >= preset.smallest:
        return replace(recipe, input=native)
    return replace(recipe, input=(*designed[:2], native[2]))


def write_shape(shape: Shape) -> str:
    """(28, 28, 1) -> `28x28x1`."""
    return "x".join(map(str, shape))


def _too_small(preset: Preset, shape: Shape) -> str:
    least = f"{preset.smallest}x{preset.smallest}"
    return f"input must be at least {least} for the preset {preset.name}; received {write_shape(shape)!r}"


_share = readers.number(f"a number above 0 and up to {LARGEST_SHARE}", lambda value: 0 < value <= LARGEST_SHARE)
_penalty = readers.number("a number from 0 to 1", lambda value: 0 <= value <= 1)
_below_one = readers.number("a number from 0 to below 1", lambda value: 0 <= value < 1)

READERS: dict[str, Callable[[str], Any]] = {
    "epochs": readers.whole(1),
    "batch_size": readers.whole(1),
    "optimizer": readers.one_of(OPTIMIZERS),
    "learning_rate": readers.number("a number above 0 and up to 10", lambda value: 0 < value <= 10),  # noqa: PLR2004
    "schedule": readers.one_of(SCHEDULES),
    "l1": _penalty,
    "l2": _penalty,
    "dropout": _below_one,
    "augment": readers.one_of(AUGMENTATIONS),
    "label_smoothing": _below_one,
    "class_weights": readers.one_of(CLASS_WEIGHTS),
    "early_stopping": readers.whole(0),
    "plateau": readers.whole(0),
    "precision": readers.one_of(PRECISIONS),
    "folds": readers.number_of_folds,
    "weights": readers.weights,
    "head_epochs": readers.whole(0),
    "seed": readers.whole(0, 2**32 - 1),  # what NumPy takes
    "validation_share": _share,
    "test_share": _share,
    "input": readers.shape,
    "labels": readers.words,
    "unreadable_share": _penalty,
    "memory_mb": readers.whole(0),
}
