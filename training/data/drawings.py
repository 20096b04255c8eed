"""Crosses and noughts: small grey drawings to teach with, made here."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.data.arrays import Scans

SEED = 0  # the drawings are the same for every training
OF_EACH = 2000
SIDE = 9  # pixels of a drawing
FINER = 8  # drawn so many times larger, and then reduced
SHARES = {"validation": 0.15, "test": 0.15}
LABELS = ["O", "X"]
CORNERS = 24  # of a nought


def crosses_noughts() -> Scans:
    """OF_EACH drawings of O and of X, white on black: shifted, scaled, rotated, thick and thin strokes."""
    rng = np.random.default_rng(SEED)
    classes = np.tile(np.arange(len(LABELS)), OF_EACH)
    return Scans(
        name="crosses_noughts",
        labels=LABELS,
        pixels=np.stack([_drawing(LABELS[number], rng) for number in classes]),
        classes=classes.astype(np.int64),
        files=[f"crosses_noughts#{number}" for number in range(len(classes))],
        parts=np.full(len(classes), "train", dtype="U10"),
        shares=SHARES,
        format="generated",
    )


def _drawing(label: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 (SIDE, SIDE, 1)."""
    width, height = rng.uniform(2.4, 3.8, 2)  # half of the sign's, in pixels
    angle = math.radians(rng.uniform(-20, 20))
    centre = SIDE / 2 + rng.uniform(-0.8, 0.8, 2)
    stroke = rng.uniform(0.7, 1.8)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    large = Image.new("L", (SIDE * FINER, SIDE * FINER))
    draw = ImageDraw.Draw(large)
    for line in _lines(label):
        points = ((line * (width, height)) @ turn + centre) * FINER
        draw.line([tuple(point) for point in points], fill=255, width=round(stroke * FINER), joint="curve")
    return np.asarray(large.reduce(FINER))[..., None]


def _lines(label: str) -> list[NDArray[np.float64]]:
    """The strokes in a square from -1 to 1, each (points, 2)."""
    if label == "X":
        return [np.array([(-1.0, -1.0), (1.0, 1.0)]), np.array([(-1.0, 1.0), (1.0, -1.0)])]
    round_about = np.linspace(0, 2 * np.pi, CORNERS + 1)
    return [np.stack([np.cos(round_about), np.sin(round_about)], axis=1)]
