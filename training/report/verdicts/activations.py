"""What the activations of the layers say, each layer in one sentence."""

import math
from typing import NamedTuple

import numpy as np

from training.learning.activations import NEAR_ZERO, Activations
from training.report.verdicts.finding import Evidence, Finding, Level, failed, last, share

# A small scale is no disease: a healthy network of small activations has 95 % near zero too. Dead is a layer in which,
# on top of that, very few activations carry everything. In healthy layers 0.10 to 0.40 of them were measured to be
# active (ReLU makes 0.32 of a normal distribution), in dying ones at most 0.06.
NEARLY_ALL = 0.9
FEW_ACTIVE = 0.07
GROWN = 20.0  # times the deviation of the untrained layer: what batch normalisation brings about stays below
LARGE = 20.0  # a deviation that no layer of a network that learns was seen to have


class Layer(NamedTuple):
    """One watched layer: `text`, a plain sentence; `since`: batches before it died, None while it lives."""

    name: str
    level: Level
    text: str
    since: int | None = None


def active(mean: float, deviation: float) -> float:
    """Share of the activations that carry something: E(a)² / E(a²), independent of their scale.

    A. Treves and E. Rolls, "What determines the capacity of autoassociative memories in the brain?", 1991.
    """
    power = mean**2 + deviation**2
    return mean**2 / power if power else 0.0


def layers(activations: Activations) -> list[Layer]:
    """The verdict on every watched layer."""
    return [_layer(activations, place) for place in range(len(activations.layers))] if activations.batches else []


def dead_layers(evidence: Evidence) -> Finding | None:
    """Layers that died in a network that learns all the same; of one that failed, `failure` tells."""
    dead = [layer for layer in layers(evidence.activations) if layer.since is not None]
    if not dead or failed(evidence.test):
        return None
    named = ", ".join(layer.name for layer in dead[:3]) + (f" and {len(dead) - 3} more" if len(dead) > 3 else "")  # noqa: PLR2004 - as many as a line holds
    text = dead[0].text
    return Finding(
        "warn",
        "Layers are all but dead" if len(dead) > 1 else "A layer is all but dead",
        f"Hardly anything passes through {named}: the network learns with what is left. In the first, {text}",
        {"dead layers": f"{len(dead)} of the {len(evidence.activations.layers)} that were watched"},
        revival(evidence),
    )


def revival(evidence: Evidence) -> list[str]:
    """What keeps layers alive, as far as this recipe lacks it."""
    rate = evidence.config["learning_rate"]
    advice = []
    if evidence.config["schedule"] != "1cycle":
        advice.append("a rate that rises slowly and falls again: --set schedule=1cycle")
    if not evidence.normalised:
        advice.append("a network with batch normalisation, such as the presets whose names end in -bn, or a ResNet")
    return [*advice, f"a lower rate: --set learning_rate={rate / 10:g} (it was {rate:g})"]


def _layer(activations: Activations, place: int) -> Layer:
    name = activations.layers[place]
    means, deviations, near = (
        [row[place] for row in rows] for rows in (activations.means, activations.deviations, activations.near_zero)
    )
    for moment, value in enumerate(deviations):
        if not math.isfinite(value):
            begun = activations.batches[moment]
            return Layer(name, "bad", f"No numbers any more from {_from(activations, moment)}.", begun)
    shares = [active(*pair) for pair in zip(means, deviations, strict=True)]
    dead = [z >= NEARLY_ALL and carried <= FEW_ACTIVE for z, carried in zip(near, shares, strict=True)]
    if all(last(dead)):
        moment = len(dead) - next((back for back, each in enumerate(reversed(dead)) if not each), len(dead))
        ended = float(np.mean(last(near)))
        told = f"{share(ended)} of the activations are near zero (up to {NEAR_ZERO}) from {_from(activations, moment)}."
        return Layer(name, "bad", told, activations.batches[moment])
    return Layer(name, *_living(near, deviations))


def _living(near: list[float], deviations: list[float]) -> tuple[Level, str]:
    highest, ended = max(deviations), float(np.mean(last(deviations)))
    if highest > LARGE and highest > GROWN * deviations[0]:
        told = f"The activations grew to a standard deviation of {highest:.3g}, from {deviations[0]:.2g}"
        return "warn", f"{told} untrained, and ended at {ended:.3g}."
    return "good", f"Alive: {share(float(np.mean(last(near))))} near zero at the end, standard deviation {ended:.2g}."


def _from(activations: Activations, moment: int) -> str:
    """`batch 12 of 106 on`."""
    if not moment:
        return "the beginning on"
    return f"batch {activations.batches[moment]:,} of {activations.batches[-1]:,} on"
