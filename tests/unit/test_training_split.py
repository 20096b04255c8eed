import json
import time
from dataclasses import replace

import numpy as np
import pytest

from artifacts.errors import BadData
from training import config
from training.data import sources as data
from training.data import split
from training.presets import Preset

RECIPE = {"epochs": 1, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.001}
PRESET = Preset("any", "any", 0, input="28x28x1", smallest=1, data="any", expected="", recipe=RECIPE)
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    def loaded(name="digits", data_dir=None, **overrides):
        recipe = config.resolve(PRESET, overrides)
        cache = tmp_path_factory.mktemp("cache")
        return data.load(name, lambda native: config.at_input(recipe, PRESET, native), data_dir, cache)

    return loaded


@pytest.fixture(scope="module")
def digits(read):
    return read()


def test_the_parts_of_digits_are_disjoint_and_whole(digits):
    divided = split.divide(digits)
    assert sorted(np.concatenate(list(divided.values()))) == list(range(1797))
    assert [len(rows) for rows in divided.values()] == pytest.approx([1078, 359, 360], abs=4)


def test_every_part_has_the_classes_in_the_same_proportion(digits):
    divided = split.divide(digits)
    whole = np.bincount(digits.classes) / len(digits.classes)
    for rows in divided.values():
        np.testing.assert_allclose(np.bincount(digits.classes[rows]) / len(rows), whole, atol=0.005)


def test_the_seed_decides_the_division(digits, read):
    same, other = split.divide(read()), split.divide(read(seed="1"))
    divided = split.divide(digits)
    assert all(np.array_equal(divided[part], same[part]) for part in divided)
    assert not np.array_equal(divided["test"], other["test"])


def test_the_record_names_every_picture_once(digits):
    divided = split.divide(digits)
    record = json.loads(split.write(digits, divided))
    entries = [entry for part in ("train", "validation", "test") for entry in record[part]]
    assert len({entry["file"] for entry in entries}) == 1797
    assert record["skipped"] == []
    first = record["train"][0]
    position = int(first["file"].removeprefix("digits#"))
    assert first["sha256"] == digits.sha256[position]
    assert first["label"] == str(digits.classes[position])


def test_the_digest_changes_with_the_division_and_only_with_it(digits, read):
    one, same, other = (
        json.loads(split.write(found, split.divide(found)))["digest"] for found in (digits, read(), read(seed="1"))
    )
    assert one == same != other


def test_mnist_keeps_its_test_part_and_is_recorded(shared_data, read):
    found = read("mnist", shared_data / "mnist")
    divided = split.divide(found)
    assert [len(rows) for rows in divided.values()] == pytest.approx([54_000, 6_000, 10_000], abs=5)
    assert all(found.files[row].startswith("t10k-images-idx3-ubyte.gz#") for row in divided["test"])
    written = json.loads(split.write(found, divided))
    assert [len(written[part]) for part in divided] == [len(rows) for rows in divided.values()]


def test_the_division_is_the_same_as_ever(digits):
    """Older runs can be gone on with, and their figures compared."""
    assert json.loads(split.write(digits, split.divide(digits)))["digest"].startswith("661ae5ef41095823")


def some(sha256, classes, **shares):
    """Pictures that are told apart by the letters of `sha256` alone."""
    recipe = config.resolve(PRESET, {f"{part}_share": str(share) for part, share in shares.items()})
    count = len(sha256)
    return data.Data(
        recipe=recipe, labels=["cat", "dog"], pixels=np.zeros((count, 8, 8, 1), np.uint8), classes=np.array(classes),
        files=[str(number) for number in range(count)], sha256=list(sha256), parts=np.full(count, "train"),
        shares={"validation": 0.15, "test": 0.15}, skipped=[], encode=lambda _: b"",
    )  # fmt: skip


def where(found):
    """sha256 -> the parts that its copies are in."""
    divided = split.divide(found)
    assert sorted(np.concatenate(list(divided.values())).tolist()) == list(range(len(found.files)))
    parts = {}
    for part, rows in divided.items():
        for row in rows:
            parts.setdefault(found.sha256[row], set()).add(part)
    return parts, divided


@pytest.mark.parametrize("seed", range(20))
def test_copies_are_put_into_the_same_part(seed):
    rng = np.random.default_rng(seed)
    sha256 = [f"{label}{number}" for label in (0, 1) for number in rng.integers(0, 60, 100)]
    found = some(sha256, [0] * 100 + [1] * 100)
    found = replace(found, recipe=replace(found.recipe, seed=seed))
    parts, divided = where(found)
    assert all(len(places) == 1 for places in parts.values())
    assert {part: np.bincount(found.classes[rows]).tolist() for part, rows in divided.items()} == {
        "train": [70, 70], "validation": [15, 15], "test": [15, 15],
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_copies_under_another_label_are_put_into_the_same_part_too(seed):
    rng = np.random.default_rng(seed)
    found = some([str(number) for number in rng.integers(0, 150, 200)], [0] * 100 + [1] * 100)
    parts, divided = where(found)
    assert all(len(places) == 1 for places in parts.values())
    for rows in divided.values():
        share = np.bincount(found.classes[rows], minlength=2) / len(rows)
        assert share.min() > 0.3


def test_a_picture_of_which_there_are_very_many_copies_stays_in_train():
    parts, divided = where(some(["a"] * 80 + list(map(str, range(120))), [0] * 100 + [1] * 100))
    assert parts["a"] == {"train"}
    assert {part: len(rows) for part, rows in divided.items()} == {"train": 150, "validation": 30, "test": 20}


def test_when_no_copies_fit_each_part_gets_the_fewest():
    parts, divided = where(some("a" * 10 + "b" * 9 + "c" * 8 + "defghijkl", [0] * 27 + [1] * 9))
    assert {digest for digest, places in parts.items() if places <= {"validation", "test"}} >= {"b", "c"}
    assert parts["a"] == {"train"}
    assert all(len(rows) for rows in divided.values())


def test_a_class_of_copies_alone_is_refused():
    sentence = "'cat' has 40 pictures, 2 of them different, to divide into train, validation and test; at least 3 are"
    with pytest.raises(BadData, match=sentence):
        split.divide(some("a" * 20 + "b" * 20 + "defghijkl", [0] * 40 + [1] * 9))


def test_a_class_of_copies_of_another_is_divided_with_it_or_refused():
    copies = "abcdefghijkl" * 2
    parts, divided = where(some(copies, [0] * 12 + [1] * 12))
    assert all(len(places) == 1 for places in parts.values())
    assert {part: len(rows) for part, rows in divided.items()} == {"train": 16, "validation": 4, "test": 4}
    with pytest.raises(BadData, match="'dog' cannot be divided: too many of its pictures are copies"):
        split.divide(some("abcdefghijklmnopqrstuvwxyz" + "abc", [0] * 26 + [1] * 3))


def test_many_classes_are_divided_quickly():
    count, classes = 100_000, 1000
    found = some(list(map(str, range(count))), np.arange(count) % classes)
    found = replace(found, labels=[str(number) for number in range(classes)])
    started = time.process_time()
    divided = split.divide(found)
    assert time.process_time() - started < 4
    assert [len(rows) for rows in divided.values()] == [70_000, 15_000, 15_000]


def test_what_an_earlier_division_knows_stays_in_its_part(digits):
    before = split.divide(digits)
    known = {digits.sha256[row]: part for part, rows in before.items() for row in rows[:-20]}
    grown = replace(digits, recipe=replace(digits.recipe, seed=5))
    divided = split.divide(grown, known)
    for part, rows in before.items():
        assert set(rows[:-20]) <= set(divided[part])
    assert {part: len(rows) for part, rows in divided.items()} == pytest.approx(
        {part: len(rows) for part, rows in before.items()}, abs=4
    )
    everything = {digits.sha256[row]: part for part, rows in before.items() for row in rows}
    assert json.loads(split.write(grown, split.divide(grown, everything)))["digest"].startswith("661ae5ef41095823")


def test_an_earlier_part_that_the_data_set_gives_itself_now_is_not_asked(digits):
    before = split.divide(digits)
    parts = np.full(len(digits.files), "train")
    parts[:300] = "test"
    known = {digits.sha256[row]: part for part, rows in before.items() for row in rows}
    divided = split.divide(replace(digits, parts=parts), known)
    assert divided["test"].tolist() == list(range(300))
    assert sorted(np.concatenate(list(divided.values()))) == list(range(1797))
