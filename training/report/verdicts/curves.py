"""What the curves of training and validation say."""

import numpy as np

from training.learning.state import Row
from training.report.verdicts.finding import Evidence, Finding, failed, last, longer, points, share, skill, total

APART = 0.05  # accuracy of training above that of validation
FAR_APART = 0.1
LEARNT = 0.7  # skill from which a network is not said to underfit
GAIN = 0.005  # of validation accuracy in the last quarter: below, the curve is flat
SWING = 0.03  # mean change of validation accuracy from epoch to epoch
STEADY_ENOUGH = 6  # epochs that it takes to tell
LARGE_INPUT = 64  # pixels: photographs rather than signs
REMEDY_L2, REMEDY_DROPOUT, REMEDY_PATIENCE = 0.0005, 0.5, 10


def overfitting(evidence: Evidence) -> Finding | None:
    """Training and validation part: the pictures are learnt by heart."""
    rows = evidence.history
    gaps = [row["accuracy"] - row["val_accuracy"] for row in rows]
    gap = float(np.mean(last(gaps)))
    if failed(evidence.test) or len(rows) < 2 or gap < max(APART, 2 * _noise(evidence)):  # noqa: PLR2004 - one epoch tells nothing
        return None
    train, validation = _ended(rows, "accuracy"), _ended(rows, "val_accuracy")
    lowest = min(rows, key=lambda row: row["val_loss"])
    told = (
        f"From epoch {parting(gaps)} on the curves part: in training it came to {share(train)}, in validation to "
        f"{share(validation)}. It learns the training pictures by heart instead of what they have in common."
    )
    if lowest["epoch"] < len(rows) and rows[-1]["val_loss"] > lowest["val_loss"]:
        told += (
            f" The validation loss was lowest after epoch {lowest['epoch']:g} ({lowest['val_loss']:.3g}) and ended at "
            f"{rows[-1]['val_loss']:.3g}."
        )
    off, advice = _against_overfitting(evidence)
    if off:
        told += f" Off in this recipe: {', '.join(off)}."
    figures = {
        "training accuracy": share(train),
        "validation accuracy": share(validation),
        "apart": points(gap),
        "since epoch": str(parting(gaps)),
        "pictures learnt from": f"{sum(evidence.pictures):,}",
    }
    return Finding("bad" if gap >= FAR_APART else "warn", "It overfits", told, figures, advice)


def underfitting(evidence: Evidence) -> Finding | None:
    """Training accuracy itself is low, and validation is no worse."""
    rows = evidence.history
    train, validation = _ended(rows, "accuracy"), _ended(rows, "val_accuracy")
    if (
        failed(evidence.test)
        or overfitting(evidence)
        or max(_skill(evidence, train), skill(evidence.validation)) >= LEARNT
    ):
        return None
    rising = improving(rows)
    told = (
        f"Even of the pictures that it learns from it answers only {share(train)} rightly, and validation "
        f"({share(validation)}) is not much different: it has not learnt them yet, or cannot."
    )
    told += " Both curves were still getting better when it ended." if rising else " The curves no longer get better."
    advice = [longer(evidence)] if rising else []
    advice += ["a larger network: more filters, or a deeper preset", *_less_regularisation(evidence)]
    if evidence.suggestion is None:
        advice.append("let the finder choose the rate: --find-rate")
    figures = {"training accuracy": share(train), "validation accuracy": share(validation), "epochs": str(len(rows))}
    return Finding("warn", "It underfits", told, figures, advice)


def unfinished(evidence: Evidence) -> Finding | None:
    """The last epoch is the best one, and nothing says that the next would not be better.

    Under 1cycle the last epochs are nearly always the best, because the rate falls to nothing: that is no sign.
    """
    rows = evidence.history
    ended = evidence.best_epoch == len(rows) and evidence.config["schedule"] != "1cycle" and improving(rows)
    if not ended or failed(evidence.test) or overfitting(evidence) or underfitting(evidence) or evidence.stopped:
        return None
    told = f"The last of {len(rows)} epochs is the best one, and validation was still getting better."
    if len(rows) == 1:
        told = "It was trained for one epoch only, and a second one would most likely make it better."
    return Finding(
        "note", "It could train longer", told, {"best epoch": f"{len(rows)} of {len(rows)}"}, [longer(evidence)]
    )


def unstable(evidence: Evidence) -> Finding | None:
    """Validation jumps up and down to the end, more than so few pictures explain."""
    accuracies = [row["val_accuracy"] for row in evidence.history]
    changes = np.diff(accuracies[-max(4, len(accuracies) // 3) :])
    if len(accuracies) < STEADY_ENOUGH or failed(evidence.test):
        return None
    swing = float(np.abs(changes - changes.mean()).mean())
    if swing < max(SWING, 4 * _noise(evidence)):
        return None
    told = (
        f"In the last third validation accuracy changed by {points(swing)} from epoch to epoch, which chance does not "
        f"explain on {total(evidence.validation):,} pictures. Which epoch is kept is a matter of luck."
    )
    advice = []
    if evidence.config["schedule"] == "constant":
        advice.append("a rate that falls: --set schedule=1cycle, or --set schedule=step")
    if not evidence.config["plateau"]:
        advice.append("a rate that falls where nothing improves: --set plateau=5")
    rate, batch = evidence.config["learning_rate"], evidence.config["batch_size"]
    advice += [f"a lower rate: --set learning_rate={rate / 3:.1g}", f"larger batches: --set batch_size={2 * batch}"]
    return Finding("warn", "Validation is unsteady", told, {"mean change": points(swing)}, advice)


def stopped_early(evidence: Evidence) -> Finding | None:
    """It ended before its last epoch, as it was told to."""
    if not evidence.stopped or "no number" in evidence.stopped:
        return None
    epochs = evidence.config["epochs"]
    told = f"It stopped after epoch {len(evidence.history)} of {epochs}: {evidence.stopped}."
    return Finding("note", "It stopped early", told, {"kept": f"epoch {evidence.best_epoch}"})


def parting(gaps: list[float]) -> int:
    """The epoch, from 1, from which the curves stay APART; single epochs that go back are smoothed away."""
    padded = [gaps[0], *gaps, gaps[-1]]
    smooth = [float(np.median(padded[n : n + 3])) for n in range(len(gaps))]
    back = next((n for n, gap in enumerate(reversed(smooth)) if gap < APART), len(smooth))
    return min(len(gaps), len(gaps) - back + 1)


def improving(rows: list[Row]) -> bool:
    """Whether validation was still getting better in the last quarter of the epochs; of one epoch, it is assumed."""
    end = last(rows)
    before = rows[: -len(end)]
    if not before:
        return True
    gain = max(row["val_accuracy"] for row in end) - max(row["val_accuracy"] for row in before)
    return gain >= GAIN and end[-1]["val_loss"] < before[-1]["val_loss"]


def _against_overfitting(evidence: Evidence) -> tuple[list[str], list[str]]:
    """What is off in this recipe, and what to try."""
    config, off, advice = evidence.config, [], []
    if config["augment"] == "none":
        off.append("augmentation")
        kind = "photo" if min(map(int, config["input"].split("x")[:2])) >= LARGE_INPUT else "shift-flip"
        mirror = ", or shift where mirrored pictures mean something else" if kind == "shift-flip" else ""
        advice.append(f"augmentation, so that no picture is seen twice: --set augment={kind}{mirror}")
    if evidence.dropout:
        advice.append(f"more dropout than {evidence.dropout:g}: --set dropout={min(0.8, evidence.dropout + 0.2):.1g}")
    else:
        off.append("dropout")
        advice.append(f"dropout: --set dropout={REMEDY_DROPOUT}")
    if not config["l2"]:
        off.append("L2")
        advice.append(f"a penalty on large weights: --set l2={REMEDY_L2}")
    advice.append(f"more pictures: it learnt from {sum(evidence.pictures) / len(evidence.pictures):,.0f} of each class")
    if not config["early_stopping"]:
        off.append("early stopping")
        kept = f"the weights of epoch {evidence.best_epoch} are kept in any case"
        advice.append(f"early stopping, which saves time ({kept}): --set early_stopping={REMEDY_PATIENCE}")
    return off, advice


def _less_regularisation(evidence: Evidence) -> list[str]:
    config = evidence.config
    advice = [f"less of the penalty {key}: --set {key}={config[key] / 10:g}" for key in ("l1", "l2") if config[key]]
    if evidence.dropout:
        advice.append(f"less dropout than {evidence.dropout:g}: --set dropout={evidence.dropout / 2:g}")
    return advice


def _ended(rows: list[Row], key: str) -> float:
    return float(np.mean([row[key] for row in last(rows)]))


def _noise(evidence: Evidence) -> float:
    """Standard deviation of the validation accuracy that so few pictures cause."""
    accuracy, count = evidence.validation["accuracy"], total(evidence.validation)
    return (max(accuracy * (1 - accuracy), 1 / count) / count) ** 0.5


def _skill(evidence: Evidence, accuracy: float) -> float:
    """Of an accuracy in training."""
    base = max(evidence.pictures) / sum(evidence.pictures)
    return (accuracy - base) / (1 - base)
