import re

import numpy as np
import pytest

from training.learning.activations import BINS, Activations
from training.report import inline, plots

HISTORY = [
    {"epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 1 / (1 + epoch), "val_loss": 1.1 / epoch, "val_accuracy": 0.5}
    for epoch in range(1, 6)
]
BINNED = [
    {"lower": 0.8, "upper": 0.9, "count": 10, "confidence": 0.85, "accuracy": 0.7},
    {"lower": 0.9, "upper": 1.0, "count": 90, "confidence": 0.97, "accuracy": 0.98},
]
WATCHED = Activations(
    ["a", "b"], [0, 5, 10], [[0.1, 0.2]] * 3, [[1.0, float("nan")]] * 3, [[0.5, 0.6]] * 3, [[[1] * BINS] * 2] * 3
)

DRAWN = {
    "accuracy": lambda: plots.curves(HISTORY, "accuracy", "Accuracy", 3),
    "loss": lambda: plots.curves(HISTORY, "loss", "Loss", 3),
    "one epoch": lambda: plots.curves(HISTORY[:1], "loss", "Loss", 1),
    "constant": lambda: plots.schedule([0.01] * 50, [], 10),
    "cycled": lambda: plots.schedule([0.01, 0.02, 0.01, 0.001], [0.95, 0.85, 0.9, 0.95], 2),
    "finder": lambda: plots.finder([1e-6, 1e-4, 1e-2], [2.3, 1.5, 4.0], 1e-3),
    "reliability": lambda: plots.reliability(BINNED),
    "traces": lambda: plots.traces(WATCHED, WATCHED.deviations, "Standard deviation"),
    "shares": lambda: plots.traces(WATCHED, WATCHED.near_zero, "Share near zero", shares=True),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_an_svg_that_stands_alone_in_any_page(name):
    drawn = DRAWN[name]()
    assert drawn.startswith("<svg ")
    assert drawn.rstrip().endswith("</svg>")
    assert "http" not in drawn
    assert "xmlns" not in drawn
    assert "currentColor" in drawn
    assert not re.search(r"<svg[^>]* (width|height)=", drawn)


def test_plots_of_one_page_share_no_id():
    ids = [set(re.findall(r' id="([^"]+)"', DRAWN[name]())) for name in DRAWN]
    assert sum(map(len, ids)) == len(set().union(*ids)) > 0


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_referred_to_is_there(name):
    drawn = DRAWN[name]()
    ids = set(re.findall(r' id="([^"]+)"', drawn))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawn)) == ids


def test_epochs_are_whole_numbers():
    texts = re.findall(r">([\d.]+)</text>", plots.curves(HISTORY[:2], "loss", "Loss", 1))
    assert {"1", "2"} <= set(texts)
    assert "1.5" not in plots.curves(HISTORY[:2], "accuracy", "Accuracy", 1)


def test_momentum_has_an_axis_of_its_own():
    assert "momentum" in DRAWN["cycled"]()
    assert "momentum" not in DRAWN["constant"]()


def test_the_suggestion_is_marked():
    assert "suggested: 0.001" in DRAWN["finder"]()


def test_a_long_schedule_stays_small():
    rates = [0.1 * (1 + batch % 97) for batch in range(300_000)]
    assert len(plots.schedule(rates, [], 1000)) < 60_000


def test_layers_have_colours_of_their_own():
    assert len(set(plots.depths(12))) == 12
    assert plots.depths(1) == ["#38bdf8"]
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in plots.depths(5))


def test_the_page_takes_small_pictures_to_the_pixel():
    assert inline.picture(np.zeros((64, 64, 1), np.uint8)).startswith("data:image/png;base64,")
    assert inline.picture(np.zeros((65, 64, 3), np.uint8)).startswith("data:image/jpeg;base64,")
