"""What a job came to, counted over its rows."""

from collections import Counter
from typing import Any

from serving.jobs.chunk import Row

BINS = 10  # of the confidence histogram, each 0.1 wide


class Tally:
    """Counts over all rows."""

    def __init__(self) -> None:
        self._labels: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._confidences = [0] * BINS
        self._confused: dict[str, Counter[str]] = {}  # by the true label

    def add(self, row: Row, truth: str = "") -> None:
        """Take a row into account, and the label that it should have, where that is known."""
        if row["error"]:
            self._reasons[row["error"].partition(": ")[0]] += 1
        else:
            self._labels[row["label"]] += 1
            self._confidences[min(int(row["confidence"] * BINS), BINS - 1)] += 1
        if truth:
            self._confused.setdefault(truth, Counter())[row["label"] or ""] += 1

    def to_json(self) -> dict[str, Any]:
        """{"total", "classified", "rejected", "labels", "reject_reasons", "confidence_histogram"}.

        Where labels are known, also "labelled" (how many), "accuracy" and "confusion_matrix": {truth: {label: count}};
        what was refused counts as wrong, under the label "".
        """
        classified, rejected = self._labels.total(), self._reasons.total()
        counted = {
            "total": classified + rejected,
            "classified": classified,
            "rejected": rejected,
            "labels": dict(sorted(self._labels.items(), key=lambda item: (-item[1], item[0]))),
            "reject_reasons": dict(sorted(self._reasons.items())),
            "confidence_histogram": self._confidences,
        }
        return counted | self._judged() if self._confused else counted

    def _judged(self) -> dict[str, Any]:
        labelled = sum(found.total() for found in self._confused.values())
        right = sum(found[truth] for truth, found in self._confused.items())
        matrix = {truth: dict(sorted(found.items())) for truth, found in sorted(self._confused.items())}
        return {"labelled": labelled, "accuracy": round(right / labelled, 6), "confusion_matrix": matrix}
