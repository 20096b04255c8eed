"""A recipe: the preset's values, overridden by the person's, every one of them checked.

Values come as text (`--set epochs=3`) or from a preset's TOML and pass through the same readers.
"""

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from artifacts.errors import WrongUse
from training.presets import Preset

Shape = tuple[int, int, int]  # height, width, channels

OPTIMIZERS = ("adam", "rmsprop", "sgd")
SCHEDULES = ("constant", "1cycle", "step")
LARGEST_SIDE = 1024  # pixels
AUGMENTATIONS = ("none", "shift", "shift-flip")


@dataclass(frozen=True)
class Recipe:
    """How to train. None: the data set decides."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float  # with 1cycle, the highest
    schedule: str = "constant"
    l2: float = 0.0  # added to the loss: l2 · Σ w² over the kernels below the output layer
    augment: str = "none"
    seed: int = 0
    validation_share: float | None = None
    test_share: float | None = None
    input: Shape | None = None

    def to_toml(self) -> dict[str, Any]:
        """For config.toml, which knows no null: what is not set is left out."""
        known = {key: value for key, value in asdict(self).items() if value is not None}
        return {**known, "input": write_shape(self.input)} if self.input else known


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
    designed = read_shape(preset.input)
    if native is None:
        return replace(recipe, input=designed)
    if min(native[:2]) >= preset.smallest:
        return replace(recipe, input=native)
    return replace(recipe, input=(*designed[:2], native[2]))


def read_shape(text: str) -> Shape:
    """`28x28x1` -> (28, 28, 1).

    Raises:
        ValueError: it is none; the text says what would be right.
    """
    parts = text.split("x")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004
        height, width, channels = map(int, parts)
        if channels in (1, 3) and min(height, width) >= 1 and max(height, width) <= LARGEST_SIDE:
            return height, width, channels
    raise ValueError(f"height x width x channels such as 32x32x3, sides up to {LARGEST_SIDE}, channels 1 or 3")


def write_shape(shape: Shape) -> str:
    """(28, 28, 1) -> `28x28x1`."""
    return "x".join(map(str, shape))


def _too_small(preset: Preset, shape: Shape) -> str:
    least = f"{preset.smallest}x{preset.smallest}"
    return f"input must be at least {least} for the preset {preset.name}; received {write_shape(shape)!r}"


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    meaning = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
            raise ValueError(meaning)
        return int(text)

    return read


def _number(meaning: str, accept: Callable[[float], bool]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(meaning) from None
        if not accept(value):
            raise ValueError(meaning)
        return value

    return read


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return read


_LARGEST_SHARE = 0.45  # two of them leave something to train on
_share = _number(f"a number above 0 and up to {_LARGEST_SHARE}", lambda value: 0 < value <= _LARGEST_SHARE)

READERS: dict[str, Callable[[str], Any]] = {
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "optimizer": _one_of(OPTIMIZERS),
    "learning_rate": _number("a number above 0 and up to 10", lambda value: 0 < value <= 10),  # noqa: PLR2004
    "schedule": _one_of(SCHEDULES),
    "l2": _number("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "augment": _one_of(AUGMENTATIONS),
    "seed": _whole(0, 2**32 - 1),  # what NumPy takes
    "validation_share": _share,
    "test_share": _share,
    "input": read_shape,
}
