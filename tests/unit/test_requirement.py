import pytest

from artifacts.errors import WrongUse
from artifacts.held_out import REQUIREMENT
from serving.comparison.requirement import parse
from serving.comparison.scores import Scores


def scores(accuracy, loss=0.5, **recalls):
    per_class = {
        label: {"pictures": 10, "recall": recall, "precision": 0.5, "f1": 0.25} for label, recall in recalls.items()
    }
    return Scores(accuracy, loss, per_class)


@pytest.mark.parametrize(
    ("text", "candidate", "current", "passes"),
    [
        (REQUIREMENT, scores(0.9), scores(0.905), True),
        (REQUIREMENT, scores(0.895), scores(0.9), True),  # 0.9 - 0.895 is more than 0.005 to a computer
        (REQUIREMENT, scores(0.8949), scores(0.9), False),
        (REQUIREMENT, scores(0.1), None, True),
        ("none", scores(0.1), scores(0.9), True),
        ("accuracy >= 0.9", scores(0.9), None, True),
        ("accuracy >= 0.9", scores(0.8), None, False),
        ("accuracy > current", scores(0.9), scores(0.9), False),
        ("accuracy>current+0.01", scores(0.92), scores(0.9), True),
        ("loss <= current", scores(0.9, loss=0.4), scores(0.9, loss=0.5), True),
        ("loss < current - 0.2", scores(0.9, loss=0.4), scores(0.9, loss=0.5), False),
        ("recall[cat] >= current - 0.02", scores(0.9, cat=0.9, dog=0.1), scores(0.9, cat=0.9, dog=0.9), True),
        ("recall[*] >= current - 0.02", scores(0.9, cat=0.9, dog=0.1), scores(0.9, cat=0.9, dog=0.9), False),
        ("recall >= 0.5", scores(0.9, cat=0.9, dog=0.1), None, True),
        ("recall[ a dog ] >= 0.5", scores(0.9, **{"a dog": 0.6}), None, True),
        ("precision[cat] >= 0.5 and f1[cat] >= 0.3", scores(0.9, cat=0.9), None, False),
        ("recall[salt and pepper] >= 0.5 and loss <= 1", scores(0.9, **{"salt and pepper": 0.6}), None, True),
    ],
)
def test_a_requirement_is_judged(text, candidate, current, passes):
    assert all(found.passed for found in parse(text).judge(candidate, current)) == passes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "received '', which cannot be read from '' on"),
        ("accuracy", "which cannot be read from 'accuracy' on"),
        ("accuracy >= currant", "which cannot be read from 'accuracy >= currant' on"),
        ("accuracy >= current - 0.005 and", "which cannot be read from '' on"),
        ("accuracy >= current - 0.005 or loss < 1", "reads like 'accuracy >= current - 0.005'"),
        ("accuracy = 0.9", "which cannot be read"),
        ("accuracy >= current * 0.9", "which cannot be read"),
        ("accuracy >= -1", "which cannot be read"),
        ("accurracy >= 0.9", "there is no metric 'accurracy' in 'accurracy >= 0.9'; the metrics are: accuracy, loss"),
        ("loss[cat] <= 1", r"loss is one figure for all classes; leave out \[cat\]"),
        ("__import__('os').system('true') >= 1", "which cannot be read"),
        ("accuracy >= 0.9" + " " * 1000 + "x", "at most 1000 characters; received 1016"),
    ],
)
def test_what_is_no_requirement_gets_a_sentence(text, says):
    with pytest.raises(WrongUse, match=says):
        parse(text)


def test_a_class_that_no_picture_shows_gets_a_sentence():
    with pytest.raises(WrongUse, match="none of the held-out pictures shows 'cow'; they show: cat"):
        parse("recall[cow] >= 0.9").judge(scores(0.9, cat=0.9), None)


def test_a_finding_has_the_figures_of_both():
    (found,) = parse("accuracy >= current - 0.005").judge(scores(0.8), scores(0.9))
    assert found == ("accuracy", ">=", 0.8, 0.9, pytest.approx(0.895), False)


def test_only_a_clause_without_current_asks_something_of_a_first_version():
    assert [parse(text).absolute for text in ("none", "loss < current", "loss < current and f1 > 0.5")] == [0, 0, 1]
