"""Why a training is good or bad: what was seen, the figures that show it, and what to try next.

Each verdict is a pure function of the evidence that answers with a finding or with none. The limits are where a person
who knows the field would begin to speak of it; where they were measured, it is said beside them.
"""

from typing import Any

from training.report.verdicts.activations import dead_layers, layers
from training.report.verdicts.answers import (
    confused,
    few_test_pictures,
    overconfident,
    poor_classes,
    underconfident,
    worst_pairs,
)
from training.report.verdicts.curves import APART, overfitting, stopped_early, underfitting, unfinished, unstable
from training.report.verdicts.failure import failed_to_train, rate_too_high
from training.report.verdicts.finding import LEVELS, Evidence, Finding, Level, failed, points, share, skill
from training.report.verdicts.pictures import contradictions, few_pictures, imbalance, leak

__all__ = ["Evidence", "Finding", "Level", "findings", "judgement", "layers", "worst_pairs"]

VERDICTS = (
    failed_to_train, overfitting, underfitting, rate_too_high, dead_layers, leak, unstable, overconfident, poor_classes,
    few_pictures, imbalance, few_test_pictures, contradictions, unfinished, stopped_early, underconfident, confused,
)  # fmt: skip
FAIR = 0.6  # skill from which an accuracy is shown as good
TRUSTED = 0.05  # calibration error


def findings(evidence: Evidence) -> list[Finding]:
    """All that is to be said, the worst first; when nothing is wrong, that."""
    found = [finding for verdict in VERDICTS if (finding := verdict(evidence))]
    if all(finding.level == "note" for finding in found):
        found.append(_all_well(evidence))
        return sorted(found, key=lambda finding: finding.level != "good")
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def judgement(metrics: dict[str, Any]) -> Level:
    """How the accuracy looks beside that of always answering the most frequent class."""
    if failed(metrics):
        return "bad"
    return "good" if skill(metrics) >= FAIR else "warn"


def _all_well(evidence: Evidence) -> Finding:
    row, off = evidence.history[evidence.best_epoch - 1], evidence.test["calibration"]["ece"]
    train, validation = share(row["accuracy"]), share(row["val_accuracy"])
    alive = sum(layer.level == "good" for layer in layers(evidence.activations))
    told = [f"Training ({train}) and validation ({validation}) agree"]
    if row["val_accuracy"] - row["accuracy"] >= APART:  # dropout, augmentation, or an epoch that began with nothing
        told = [f"Validation ({validation}) is no worse than training ({train})"]
    told += [f"all {alive} watched layers are alive" if alive > 1 else "the watched layer is alive"] if alive else []
    told += [f"the confidence can be trusted ({points(off)} off)"] if off < TRUSTED else []
    return Finding("good", "Nothing is wrong", f"{', '.join(told)}.")
