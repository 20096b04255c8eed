"""Plots as inline SVG: the text takes the page's own colour and font, so that one plot suits light and dark."""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.learning.activations import Activations
from training.learning.state import Row

TRAIN, VALIDATION = "#3b82f6", "#f97316"
DEPTH = LinearSegmentedColormap.from_list("depth", ["#38bdf8", "#6366f1", "#d946ef", "#f97316"])  # first to last layer
MOST_POINTS = 800  # of a line: more cannot be told apart, and fill the page
SPARSE = 25  # points, up to which each gets a dot
_INK = "#010203"  # stands for the page's text colour until the SVG is written
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tintype",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.titleweight": "bold",
    "lines.linewidth": 1.8,
}


def curves(history: list[Row], key: str, title: str, best_epoch: int) -> str:
    """Training and validation of `key` (loss or accuracy) on one axis; the epoch whose weights were kept is marked."""
    epochs = [row["epoch"] for row in history]
    with _drawing(title, "epoch") as (figure, axes):
        marker = "o" if len(epochs) < SPARSE else None
        validation = [row[f"val_{key}"] for row in history]
        axes.plot(epochs, [row[key] for row in history], color=TRAIN, marker=marker, ms=4, label="training")
        axes.plot(epochs, validation, color=VALIDATION, marker=marker, ms=4, label="validation")
        axes.axvline(best_epoch, color=_INK, alpha=0.35, lw=1, ls="--")
        axes.plot(best_epoch, validation[best_epoch - 1], "o", ms=9, mfc="none", mec=VALIDATION, label="kept")
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        if key == "accuracy":
            axes.yaxis.set_major_formatter(_percent)
        axes.legend()
        return _svg(figure)


def schedule(rates: list[float], momenta: list[float], batches: int) -> str:
    """Learning rate, and the momentum where it changes, of every batch over the epochs of `batches` batches each."""
    with _drawing("Schedule", "epoch") as (figure, axes):
        few = _few(len(rates))
        epochs = (few + 1) / batches
        axes.plot(epochs, np.array(rates)[few], color=TRAIN)
        axes.set_ylim(0, 1.08 * max(rates))
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.set_ylabel("learning rate", color=TRAIN)
        if momenta:
            other = axes.twinx()
            other.spines["right"].set_visible(True)
            other.plot(epochs, np.array(momenta)[few], color=VALIDATION, ls=(0, (4, 2)))
            other.set_ylabel("momentum (dashed)", color=VALIDATION)
        return _svg(figure)


def finder(rates: list[float], losses: list[float], suggestion: float) -> str:
    """The smoothed loss over the learning rate of each batch, the suggestion marked."""
    with _drawing("Learning-rate finder", "learning rate") as (figure, axes):
        axes.plot(rates, losses, color=TRAIN)
        axes.axvline(suggestion, color=VALIDATION, lw=1.2, ls="--", label=f"suggested: {suggestion:g}")
        axes.set_xscale("log")
        axes.set_ylabel("loss, smoothed")
        axes.legend()
        return _svg(figure)


def reliability(bins: list[dict[str, Any]]) -> str:
    """Accuracy over confidence, a bar a bin; on the diagonal is who is right as often as sure; below, the counts."""
    with _drawing("Calibration", "confidence", rows=2, width=4.9, height=4.1) as (figure, (axes, counts)):
        middles = [(each["lower"] + each["upper"]) / 2 for each in bins]
        width = 0.094
        axes.bar(middles, [each["accuracy"] for each in bins], width, color=TRAIN, alpha=0.75, label="right")
        sure = [each["confidence"] for each in bins]
        axes.plot(sure, [each["accuracy"] for each in bins], "o", ms=4, color=_INK)
        axes.plot([0, 1], [0, 1], color=VALIDATION, lw=1.2, ls="--", label="as sure as right")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(_percent)
        figure.legend(loc="outside upper right", ncols=2)
        counts.bar(middles, [each["count"] for each in bins], width, color=_INK, alpha=0.35)
        counts.set_ylabel("pictures")
        counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        counts.set_xlim(0, 1)
        counts.xaxis.set_major_formatter(_percent)
        return _svg(figure)


def traces(activations: Activations, values: list[list[float]], title: str, *, shares: bool = False) -> str:
    """A line a layer of `values` (moments, layers) over the batches, from the first layer's colour to the last's."""
    with _drawing(title, "batch", width=3.7, height=2.6) as (figure, axes):
        table = np.array(values, dtype=float)
        for place, color in enumerate(depths(len(activations.layers))):
            axes.plot(activations.batches, table[:, place], color=color, lw=1.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if shares:
            axes.set_ylim(-0.02, 1.02)
            axes.yaxis.set_major_formatter(_percent)
        return _svg(figure)


def depths(layers: int) -> list[str]:
    """A colour for each layer, as `#rrggbb`."""
    return [mpl.colors.to_hex(DEPTH(place / max(1, layers - 1))) for place in range(layers)]


@contextmanager
def _drawing(
    title: str, label: str, *, rows: int = 1, width: float = 4.3, height: float = 2.9
) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes, one below the other; `label` stands under the last."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots(rows, sharex=True, height_ratios=[3, 1][:rows], squeeze=False)[:, 0]
        for each in axes:
            _plain(each)
        axes[0].set_title(title, loc="left")
        axes[-1].set_xlabel(label)
        yield figure, axes[0] if rows == 1 else axes


def _plain(axes: Axes) -> None:
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    axes.grid(alpha=0.15, color=_INK)


def _percent(value: float, _: int) -> str:
    """0.975 -> `97.5 %`."""
    return f"{100 * value:.4g} %"


def _few(count: int) -> np.ndarray:
    """Positions of at most MOST_POINTS of `count`, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))


def _svg(figure: Figure) -> str:
    """The figure as an `<svg>` element without outside names, and with no id that another plot could have."""
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return _own_ids(text).replace(_INK, "currentColor")


def _own_ids(text: str) -> str:
    """Ids that are referred to get a name of this very plot; the others go."""
    mine = hashlib.sha256(text.encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{mine}-", text)
