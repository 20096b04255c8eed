"""What the answers to the test pictures say."""

import numpy as np

from training.report.verdicts.finding import (
    Evidence,
    Finding,
    failed,
    interval,
    longer,
    points,
    share,
    total,
    uneven,
)

WIDE = 0.1  # of an interval of the accuracy
BELOW = 0.15  # the recall of a class under the accuracy of all
SOME = 10  # pictures of a class, from which its recall says something
BOASTING = 0.03  # mean confidence above accuracy
TIMID = 0.1  # mean confidence below it
MISTAKES_TO_JUDGE = 10
OF_ALL_MISTAKES = 0.1  # that two classes have with each other
LISTED = 5


def few_test_pictures(evidence: Evidence) -> Finding | None:
    """The interval of the accuracy is wide."""
    count, accuracy = total(evidence.test), evidence.test["accuracy"]
    low, high = interval(accuracy, count)
    if high - low <= WIDE:
        return None
    told = (
        f"On {count:,} pictures a measured accuracy of {share(accuracy)} only says that the true one lies between "
        f"{share(low)} and {share(high)} (with 95 % certainty). A difference inside that is none."
    )
    advice = ["more test pictures"]
    if "test_share" in evidence.config:
        advice.append("a larger part for the test: --set test_share=0.3")
    if not evidence.config["folds"]:
        advice.append("cross-validation, which tests on every picture once: --set folds=5")
    return Finding("warn", "Few test pictures", told, {"95 % interval": f"{share(low)} to {share(high)}"}, advice)


def poor_classes(evidence: Evidence) -> Finding | None:
    """Classes of which much less is found than of the others, beyond what chance explains."""
    accuracy = evidence.test["accuracy"]
    rows = sorted(evidence.test["per_class"].items(), key=lambda item: item[1]["recall"])
    poor = [
        (label, row)
        for label, row in rows
        if row["support"] >= SOME
        and row["recall"] < accuracy - BELOW
        and interval(row["recall"], row["support"])[1] < accuracy
    ]
    if not poor or failed(evidence.test):
        return None
    named = ", ".join(f"{label} ({share(row['recall'])})" for label, row in poor[:LISTED])
    more = f" and {len(poor) - LISTED} more" if len(poor) > LISTED else ""
    told = f"Of all pictures {share(accuracy)} are recognised, but far fewer of {named}{more}."
    advice = ["more training pictures of these classes, and a look at their labels"]
    if evidence.config["class_weights"] == "none" and uneven(evidence.pictures):
        advice.append("let rare classes count as much as frequent ones: --set class_weights=balanced")
    return Finding(
        "warn", "Some classes are recognised poorly", told, {"poor classes": f"{len(poor)} of {len(rows)}"}, advice
    )


def confused(evidence: Evidence) -> Finding | None:
    """Two classes that are taken for each other make up much of the mistakes; needs three classes or more."""
    matrix = np.array(evidence.test["confusion_matrix"])
    mistakes = int(matrix.sum() - np.trace(matrix))
    if failed(evidence.test) or len(matrix) <= 2 or mistakes < MISTAKES_TO_JUDGE:  # noqa: PLR2004 - two have no other
        return None
    pairs = [pair for pair in worst_pairs(evidence) if pair[2] >= OF_ALL_MISTAKES * mistakes]
    if not pairs:
        return None
    named = "; ".join(f"{first} and {second}, {count:,} times" for first, second, count in pairs[:3])
    figures = {"mistakes": f"{mistakes:,}", "of these two": share(pairs[0][2] / mistakes)}
    told = f"Taken for each other most often: {named}."
    advice = ["look at these pictures among the worst mistakes: are they told apart by what the network can see?"]
    return Finding("note", "Some classes look alike to it", told, figures, advice)


def worst_pairs(evidence: Evidence) -> list[tuple[str, str, int]]:
    """(label, label, mistakes in both directions), the most first; those without any are left out."""
    matrix = np.array(evidence.test["confusion_matrix"])
    both = np.triu(matrix + matrix.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[: np.count_nonzero(both)]
    places = [divmod(int(flat), len(matrix)) for flat in order]
    return [(evidence.labels[row], evidence.labels[column], int(both[row, column])) for row, column in places]


def overconfident(evidence: Evidence) -> Finding | None:
    """It is surer than it is right, beyond what so few pictures explain."""
    calibration, accuracy = evidence.test["calibration"], evidence.test["accuracy"]
    _, highest = interval(accuracy, total(evidence.test))
    confidence = calibration["confidence"]
    if failed(evidence.test) or confidence - accuracy < BOASTING or confidence <= highest:
        return None
    told = (
        f"It says {share(calibration['confidence'])} on average and is right in {share(accuracy)} of the cases: its "
        "confidence must not be taken for a probability."
    )
    advice = []
    if not evidence.config["label_smoothing"]:
        advice.append("label smoothing: --set label_smoothing=0.1")
    advice.append("whatever helps against overfitting, for that is what mostly makes it boast")
    return Finding("warn", "It is overconfident", told, _calibration(evidence), advice)


def underconfident(evidence: Evidence) -> Finding | None:
    """It is far more often right than it is sure."""
    confidence, accuracy = evidence.test["calibration"]["confidence"], evidence.test["accuracy"]
    if failed(evidence.test) or accuracy - confidence < TIMID:
        return None
    told = (
        f"It says {share(confidence)} on average and is right in {share(accuracy)} of the cases. Its answers are no "
        "worse for it; only a limit that is set on the confidence would reject too many."
    )
    advice = []
    if evidence.config["label_smoothing"]:
        advice.append("less label smoothing: --set label_smoothing=0")
    if evidence.dropout:
        advice.append(f"less dropout than {evidence.dropout:g}: --set dropout={evidence.dropout / 2:g}")
    return Finding("note", "It is better than it says", told, _calibration(evidence), [*advice, longer(evidence)])


def _calibration(evidence: Evidence) -> dict[str, str]:
    calibration = evidence.test["calibration"]
    return {
        "confidence": share(calibration["confidence"]),
        "accuracy": share(evidence.test["accuracy"]),
        "ECE": points(calibration["ece"]),
    }
