import pytest

from serving.jobs.tally import Tally


def row(label, confidence=0.95, error=None):
    return {"label": label, "confidence": confidence, "error": error}


def test_without_true_labels_there_is_no_accuracy():
    tally = Tally()
    tally.add(row("cat"))
    tally.add(row(None, None, "not_an_image: no"))
    assert tally.to_json() == {
        "total": 2,
        "classified": 1,
        "rejected": 1,
        "labels": {"cat": 1},
        "reject_reasons": {"not_an_image": 1},
        "confidence_histogram": [0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    }


def test_accuracy_and_confusion_count_what_was_refused_as_wrong_and_leave_out_what_nobody_knows():
    tally = Tally()
    for label, truth in (("cat", "cat"), ("cat", "dog"), ("dog", "dog"), ("dog", "dog"), ("cat", "")):
        tally.add(row(label), truth)
    tally.add(row(None, None, "not_an_image: no"), "dog")
    told = tally.to_json()
    assert (told["labelled"], told["accuracy"]) == (5, pytest.approx(0.6))
    assert told["confusion_matrix"] == {"cat": {"cat": 1}, "dog": {"": 1, "cat": 1, "dog": 2}}
    assert sum(map(sum, (found.values() for found in told["confusion_matrix"].values()))) == 5
