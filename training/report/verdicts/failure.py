"""Networks that did not learn, and why."""

import math

from training.report.verdicts.activations import layers, revival
from training.report.verdicts.finding import Evidence, Finding, failed, guessing, interval, share, total

ABOVE_GUESSING = 1.2  # times the loss of who knows nothing, ln(classes): an untrained network stays below
SPIKE = 1.5  # times the lowest loss before it
FAR = 5.0  # times the rate that the finder suggests
FEW_BATCHES = 500  # in which a sound network on easy pictures may not have learnt yet


def failed_to_train(evidence: Evidence) -> Finding | None:
    """Accuracy at chance, with the cause where the activations or the loss show it."""
    if not failed(evidence.test):
        return None
    test, base = evidence.test, guessing(evidence.test)
    epochs, batches = len(evidence.history), len(evidence.rates)
    trained = f"{epochs} epoch{'s' if epochs > 1 else ''} ({batches:,} batches)"
    told = (
        f"After {trained} it is right in {share(test['accuracy'])} of the test pictures; always answering "
        f"{_most_frequent(evidence)!r} would be right in {share(base)}."
    )
    causes = [cause for cause in (_one_answer(evidence), _layers(evidence), _loss(evidence)) if cause]
    low, high = interval(test["accuracy"], total(test))
    figures = {
        "test accuracy": share(test["accuracy"]),
        "95 % interval": f"{share(low)} to {share(high)}",
        "most frequent class": share(base),
        "chance": share(1 / len(evidence.labels)),
    }
    return Finding("bad", "It failed to train", " ".join([told, *causes]), figures, _advice(evidence))


def rate_too_high(evidence: Evidence) -> Finding | None:
    """The training loss jumped up, or became no number, in a network that learnt all the same."""
    if failed(evidence.test):
        return None
    told, figures = _jumps(evidence), {"learning rate": f"{evidence.config['learning_rate']:g}"}
    if diverged(evidence):
        told = f"{_sentence(evidence.stopped)} What was kept is epoch {evidence.best_epoch}. {told}"
    if not told:
        return None
    if evidence.suggestion:
        figures["the finder suggests"] = f"{evidence.suggestion:g}"
    level = "bad" if diverged(evidence) else "warn"
    return Finding(level, "The learning rate is too high", told.strip(), figures, revival(evidence))


def diverged(evidence: Evidence) -> bool:
    """Whether the loss became no number."""
    values = [value for row in evidence.history for value in row.values()]
    return "no number" in evidence.stopped or not all(map(math.isfinite, values))


def _jumps(evidence: Evidence) -> str:
    """Where the training loss rose far above what it had been, or was worse than that of guessing."""
    losses = [row["loss"] for row in evidence.history]
    for epoch in range(1, len(losses)):
        lowest = min(losses[:epoch])
        if losses[epoch] > SPIKE * lowest and losses[epoch] - lowest > 0.1 * math.log(len(evidence.labels)):
            return f"The training loss jumped from {lowest:.3g} to {losses[epoch]:.3g} in epoch {epoch + 1}."
    return ""


def _most_frequent(evidence: Evidence) -> str:
    counts = [sum(row) for row in evidence.test["confusion_matrix"]]
    return evidence.labels[counts.index(max(counts))]


def _one_answer(evidence: Evidence) -> str:
    """When nearly all pictures get the same answer."""
    given = [sum(column) for column in zip(*evidence.test["confusion_matrix"], strict=True)]
    answered = max(given) / sum(given)
    if answered < 0.9:  # noqa: PLR2004 - nearly all
        return ""
    return f"It answers {evidence.labels[given.index(max(given))]!r} to {share(answered)} of all pictures."


def _layers(evidence: Evidence) -> str:
    """The layer that died first, and how many did."""
    ill = [layer for layer in layers(evidence.activations) if layer.level != "good"]
    if not ill:
        return "The layers are alive, so the cause lies elsewhere."
    ill.sort(key=lambda layer: (layer.since is None, layer.since or 0))
    first, count, watched = ill[0], len(ill) - 1, len(evidence.activations.layers)
    others = f" {count} more of the {watched} watched layers are in the same state." if count else ""
    dead = " What is dead passes nothing on and learns nothing." if first.since is not None else ""
    begins = "Layer" if first.since == 0 else "The cause: layer"  # from the beginning on, it may have another cause
    return f"{begins} {first.name}. {first.text}{others}{dead}"


def _loss(evidence: Evidence) -> str:
    """The loss beside that of who knows nothing."""
    knows_nothing = math.log(len(evidence.labels))
    loss, first = evidence.validation["loss"], evidence.history[0]["loss"]
    told = f"The validation loss is {loss:.3f}; knowing nothing gives ln {len(evidence.labels)} = {knows_nothing:.3f}."
    penalties = evidence.config["l1"] or evidence.config["l2"]
    if first > ABOVE_GUESSING * knows_nothing and not penalties:
        told += f" In the first epoch it was {first:.3g} on average: the steps were too large."
    return told


def _advice(evidence: Evidence) -> list[str]:
    ill = any(layer.level != "good" for layer in layers(evidence.activations))
    advice = revival(evidence) if ill or diverged(evidence) else []
    if evidence.suggestion is None:
        advice.append("let the finder choose the rate: --find-rate")
    elif evidence.config["learning_rate"] > FAR * evidence.suggestion:
        advice.append(f"the rate that the finder suggests: --set learning_rate={evidence.suggestion:g}")
    if len(evidence.rates) < FEW_BATCHES and not ill:
        advice.append(f"more than {len(evidence.rates):,} batches: --set epochs={4 * len(evidence.history)}")
    return [*advice, "look at the pictures and their labels: are they what they should be?"]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
