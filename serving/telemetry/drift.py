"""How far a window has drifted from the reference: the population stability index of each feature.

psi = sum over bins of (w - r) ln(w / r), with the shares w of the window and r of the reference. Below 0.1 is stable,
from 0.1 a shift, from 0.25 a large one (Siddiqi, Credit Risk Scorecards, 2006). These are conventions that know nothing
of sample sizes: two samples of one population differ by chance by (1/n + 1/m) times a chi-square of bins - 1 degrees of
freedom (Yurdakul and Naranjo, Statistical properties of the population stability index, 2020). Both have to say so.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from artifacts.census import FEATURES, LABEL, Census, ordered
from serving.telemetry.windows import Version

SHIFTING, DRIFTED = 0.1, 0.25
LEVELS = ("unknown", "stable", "shifting", "drifted")
RARE = 5  # pictures: labels that the reference has fewer of are counted together
OTHERS = "(rare labels)"
_SIGMAS = 2.33  # standard deviations beyond which chance seldom comes: one time in a hundred
_HALF = 0.5  # a picture that each bin is given, so that an empty one has a logarithm


class Bin(NamedTuple):
    """A bin's share of the reference's pictures and of the window's."""

    name: str
    reference: float
    window: float


class Shift(NamedTuple):
    """Of one feature."""

    psi: float
    by_chance: float  # what two samples of these sizes seldom exceed if nothing has changed
    bins: list[Bin]

    @property
    def level(self) -> str:
        """`unknown`: of so few pictures nobody can say; `stable`; `shifting`; `drifted`."""
        if self.psi > self.by_chance and self.psi >= SHIFTING:
            return "drifted" if self.psi >= DRIFTED else "shifting"
        return "stable" if self.by_chance < DRIFTED else "unknown"


def shifts(reference: Census, window: Census) -> dict[str, Shift]:
    """Of each feature; a window without pictures has no index, and is unknown."""
    return {feature: _shift(feature, reference.bins[feature], window.bins[feature]) for feature in FEATURES}


def worst(found: Mapping[str, Shift]) -> str:
    """The level of the feature that has drifted most."""
    return max((shift.level for shift in found.values()), key=LEVELS.index)


def families(windows: Mapping[Version, Census], references: Mapping[Version, Census | None]) -> list[Metric]:
    """The metrics, for Prometheus."""
    pictures = GaugeMetricFamily(
        "tintype_drift_pictures", "Pictures in the window that drift is told of.", labels=("model", "version")
    )
    psi = GaugeMetricFamily(
        "tintype_drift_psi",
        "Population stability index of the window beside the bundle's reference.",
        labels=("model", "version", "feature"),
    )
    for (name, version), window in sorted(windows.items()):
        pictures.add_metric((name, str(version)), window.pictures)
        reference = references.get((name, version))
        for feature, shift in shifts(reference, window).items() if reference else ():
            psi.add_metric((name, str(version), feature), shift.psi)
    return [pictures, psi]


def _shift(feature: str, reference: Counter[str], window: Counter[str]) -> Shift:
    if feature == LABEL:
        reference, window = _without_rare(reference, window)
    names = ordered(feature, {**reference, **window})
    expected, actual = [reference[name] for name in names], [window[name] for name in names]
    bins = [Bin(*each) for each in zip(names, _shares(expected), _shares(actual), strict=True)]
    if not sum(actual):
        return Shift(0.0, math.inf, bins)
    smooth = zip(_shares(expected, _HALF), _shares(actual, _HALF), strict=True)
    psi = sum((w - r) * math.log(w / r) for r, w in smooth)
    freedom = len(names) - 1
    by_chance = (1 / sum(expected) + 1 / sum(actual)) * (freedom + _SIGMAS * math.sqrt(2 * freedom))
    return Shift(psi, by_chance, bins)


def _without_rare(reference: Counter[str], window: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """Labels that hardly occur, as one: each alone would drift by chance."""
    common = {name for name, count in reference.items() if count >= RARE}
    return _gathered(reference, common), _gathered(window, common)


def _gathered(counts: Counter[str], common: set[str]) -> Counter[str]:
    gathered: Counter[str] = Counter()
    for name, count in counts.items():
        gathered[name if name in common else OTHERS] += count
    return gathered


def _shares(counts: Sequence[int], more: float = 0.0) -> list[float]:
    total = sum(counts) + more * len(counts)
    return [(count + more) / total if total else 0.0 for count in counts]
