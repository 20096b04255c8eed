"""The confusion matrix as a page can show it: cells for few classes, a painting for many."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

MOST_CELLS = 20  # classes whose counts can be read
SHOWN_PAIRS = 6
RIGHT, WRONG = (34, 150, 94), (214, 69, 65)
FAINT = 4  # times stronger than what is right: a few mistakes among many pictures are to be seen


def cells(matrix: list[list[int]], labels: list[str]) -> list[dict[str, Any]]:
    """A row a true label: its cells carry the count, the strength of their colour, and whether they are right."""
    rows = []
    for number, (label, counts) in enumerate(zip(labels, matrix, strict=True)):
        total = max(1, sum(counts))
        drawn = [
            {"count": count, "right": place == number, "strength": _strength(count / total, right=place == number)}
            for place, count in enumerate(counts)
        ]
        rows.append({"label": label, "cells": drawn})
    return rows


def painting(matrix: list[list[int]]) -> str:
    """The same as a picture of a pixel a cell, as a `data:` address; transparent where there is nothing."""
    counts = np.array(matrix)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    right = np.eye(len(counts), dtype=bool)
    alpha = np.where(right, _strength(shares, right=True), _strength(shares, right=False))
    colors = np.where(right[..., None], RIGHT, WRONG)
    out = io.BytesIO()
    Image.fromarray(np.dstack([colors, 255 * alpha]).astype(np.uint8)).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def _strength(share: Any, *, right: bool) -> Any:
    return 0.75 * share if right else np.minimum(FAINT * share, 0.8)
