import json

import numpy as np
import pytest

from serving.answers import DECIMALS, TOP_K, answers

LABELS = ["cat", "dog", "été", "fox", "gnu", "hen"]


def test_the_most_likely_label_comes_first_with_its_confidence():
    row = np.array([[0.05, 0.6, 0.1, 0.2, 0.03, 0.02]], np.float32)
    (answer,) = answers(row, LABELS, 3)
    assert (answer["label"], answer["confidence"]) == ("dog", 0.6)
    assert [each["label"] for each in answer["top"]] == ["dog", "fox", "été"]
    assert [each["confidence"] for each in answer["top"]] == [0.6, 0.2, 0.1]


def test_every_row_has_its_answer_in_order():
    got = answers(np.eye(6, dtype=np.float32)[[3, 0, 5]], LABELS, 1)
    assert [each["label"] for each in got] == ["fox", "cat", "hen"]
    assert [len(each["top"]) for each in got] == [1, 1, 1]


def test_ties_are_resolved_by_the_order_of_the_labels():
    (answer,) = answers(np.full((1, 6), 1 / 6, np.float32), LABELS, TOP_K)
    assert [each["label"] for each in answer["top"]] == LABELS[:TOP_K]


@pytest.mark.parametrize("top_k", [6, 7, 10**18])
def test_there_are_no_more_labels_than_classes(top_k):
    (answer,) = answers(np.full((1, 6), 1 / 6, np.float32), LABELS, top_k)
    assert [each["label"] for each in answer["top"]] == LABELS


def test_confidences_are_short_and_json():
    (answer,) = answers(np.array([[1 / 3, 2 / 3]], np.float32), LABELS[:2], 2)
    assert json.loads(json.dumps(answer)) == answer
    assert answer["confidence"] == round(2 / 3, DECIMALS)


def test_no_rows_have_no_answers():
    assert answers(np.zeros((0, 6), np.float32), LABELS, 2) == []
