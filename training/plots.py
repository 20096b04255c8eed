"""Plots as inline SVG: the text takes the page's own colour and font, so that one plot suits light and dark."""

import io
import re

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

TRAIN, VALIDATION = "#3b82f6", "#f97316"
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
}


def curves(history: list[dict[str, float]], key: str, title: str, best_epoch: int) -> str:
    """Training and validation of `key` (loss or accuracy) on one axis; the epoch whose weights were kept is marked."""
    epochs = [row["epoch"] for row in history]
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(title, "epoch")
        marker = "o" if len(epochs) < 25 else None  # noqa: PLR2004 - beyond that, dots touch
        axes.plot(epochs, [row[key] for row in history], color=TRAIN, marker=marker, ms=4, label="train")
        validation = [row[f"val_{key}"] for row in history]
        axes.plot(epochs, validation, color=VALIDATION, marker=marker, ms=4, label="validation")
        axes.axvline(best_epoch, color=_INK, alpha=0.3, lw=1, ls="--", label="kept")
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.legend()
        return _svg(figure)


def rates(values: list[float], batches: int) -> str:
    """The learning rate of every batch over the epochs, `batches` batches each."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("Learning rate", "epoch")
        axes.plot(np.arange(1, len(values) + 1) / batches, values, color=TRAIN)
        axes.set_ylim(bottom=0)
        return _svg(figure)


def _figure(title: str, label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 2.9), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_title(title, loc="left")
    axes.set_xlabel(label)
    axes.grid(alpha=0.15, color=_INK)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The figure as an `<svg>` element without outside names; HTML needs none of them."""
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1), count=1
    )
    return text.replace(_INK, "currentColor")
