"""The page's section on what the layers did while the network learnt."""

from typing import Any

import numpy as np

from training.learning.activations import BINS, HIGHEST, Activations
from training.report import inline, plots, verdicts

SELDOM = 1e-3  # share of a layer's activations that a bin has to hold at some moment, to be shown


def activity(activations: Activations) -> dict[str, Any]:
    """{"traces": SVGs, "layers": [{"name", "color", "level", "text", "histogram": address}, …], "top", "batches"}."""
    if not activations.batches or not activations.layers:
        return {}
    highest = _highest_bin(activations)
    colors = plots.depths(len(activations.layers))
    layers = [
        {**told._asdict(), "color": color, "histogram": _colour_dimension(activations, place, highest)}
        for place, (told, color) in enumerate(zip(verdicts.layers(activations), colors, strict=True))
    ]
    traces = [
        plots.traces(activations, activations.means, "Mean"),
        plots.traces(activations, activations.deviations, "Standard deviation"),
        plots.traces(activations, activations.near_zero, "Share near zero", shares=True),
    ]
    return {
        "traces": traces, "layers": layers, "top": highest * HIGHEST / BINS, "batches": activations.batches[-1]
    }  # fmt: skip


def _highest_bin(activations: Activations) -> int:
    """As many bins as are filled in any layer."""
    counts = np.array(activations.histograms, dtype=float)  # (moments, layers, BINS)
    shares = counts / np.maximum(1, counts.sum(-1, keepdims=True))
    filled = np.flatnonzero((shares > SELDOM).any(axis=(0, 1)))
    return max(4, int(filled[-1]) + 1) if len(filled) else BINS


def _colour_dimension(activations: Activations, place: int, highest: int) -> str:
    """A column a moment, a row a bin, the lowest at the bottom; log(1 + n), so that few are seen beside many."""
    counts = np.log1p(np.array([moment[place] for moment in activations.histograms], dtype=float))
    return inline.heat(counts.T[:highest][::-1], float(counts.max()))
