"""The phases of a training: one, or two where a pretrained network is fine-tuned."""

from dataclasses import dataclass

from training.config import Recipe

SLOWER = 0.1  # the rate of a pretrained network's top, as a share of its head's


@dataclass(frozen=True)
class Phase:
    """A part of a training with an optimizer of its own."""

    layers: str  # that are trained: all, head or top
    start: int  # epoch, from 0
    end: int
    rate: float  # the highest


def phases(recipe: Recipe) -> list[Phase]:
    """One for a network that starts from nothing; for a pretrained one its head, and then its top, slower.

    F. Chollet, "Deep Learning with Python", 2017, section 5.3.
    """
    if recipe.weights == "none":
        return [Phase("all", 0, recipe.epochs, recipe.learning_rate)]
    head = min(recipe.head_epochs, recipe.epochs)
    first = Phase("head", 0, head, recipe.learning_rate)
    then = Phase("top", head, recipe.epochs, recipe.learning_rate * SLOWER)
    return [phase for phase in (first, then) if phase.end > phase.start]
