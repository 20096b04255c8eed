import json
import shutil

import pytest

from training.data import split


def copy(root, *pairs):
    for source, target in pairs:
        shutil.copy(root / source, root / target)


@pytest.fixture
def divided(pets):
    return pets({f"{part}/{label}": 6 for part in ("train", "validation", "test") for label in ("cat", "dog")})


def test_the_same_picture_in_two_parts_is_reported_as_a_leak(divided, load):
    copy(
        divided,
        ("train/cat/000.png", "test/cat/new.png"),
        ("train/cat/000.png", "validation/cat/new.png"),
        ("train/dog/000.png", "test/dog/new.png"),
        ("train/dog/001.png", "train/dog/new.png"),
    )
    found = load(divided)
    assert [leak["files"] for leak in found.leaks] == [
        ["train/cat/000.png", "validation/cat/new.png", "test/cat/new.png"],
        ["train/dog/000.png", "test/dog/new.png"],
    ]
    assert found.leaks[0]["sha256"] == found.sha256[found.files.index("train/cat/000.png")]
    assert found.leaks[0]["labels"] == ["cat"] * 3
    assert found.contradictions == []
    example = "train/cat/000.png and test/cat/new.png"
    why = "a leak, which flatters the figures; split.json lists all"
    assert found.remarks == [f"in more than one part: 2 pictures, such as {example}: {why}"]


def test_a_leak_is_recorded_and_nothing_is_removed(divided, load):
    copy(divided, ("train/cat/000.png", "test/cat/new.png"))
    found = load(divided)
    parts = split.divide(found)
    record = json.loads(split.write(found, parts))
    assert record["leaks"] == found.leaks
    assert record["contradictions"] == []
    assert [len(record[part]) for part in ("train", "validation", "test")] == [12, 12, 13]


def test_the_same_picture_under_two_labels_is_reported(pets, load):
    root = pets({"cat": 6, "dog": 6})
    copy(root, ("cat/000.png", "dog/new.png"))
    found = load(root)
    assert found.leaks == []
    assert [(each["files"], each["labels"]) for each in found.contradictions] == [
        (["cat/000.png", "dog/new.png"], ["cat", "dog"])
    ]
    assert found.remarks[0] == (
        "under more than one label: 1 picture, such as cat/000.png and dog/new.png: "
        "one of the labels is wrong; split.json lists all"
    )
    assert json.loads(split.write(found, split.divide(found)))["contradictions"] == found.contradictions


def test_copies_in_what_we_divide_ourselves_are_no_leak_and_are_said(pets, load):
    root = pets({"cat": 6, "dog": 6})
    copy(root, ("cat/000.png", "cat/a.png"), ("cat/000.png", "cat/b.png"), ("dog/000.png", "dog/a.png"))
    found = load(root)
    assert found.leaks == found.contradictions == []
    assert found.remarks == [
        "more than once: 2 pictures, such as cat/000.png and cat/b.png; those cut from train are put into the same part"
    ]


def test_a_label_that_is_not_chosen_contradicts_nothing(pets, load):
    root = pets({"cat": 6, "dog": 6, "eel": 6})
    copy(root, ("cat/000.png", "eel/new.png"))
    assert load(root, labels="cat,dog").remarks == []


def test_without_copies_there_is_nothing_to_say(divided, load):
    found = load(divided)
    assert found.leaks == found.contradictions == found.remarks == []
