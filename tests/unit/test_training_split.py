import json
import time

import numpy as np
import pytest

from training import config, data, presets, split

PRESET = presets.read("mlp-32")


def load(name="digits", data_dir=None, **overrides):
    recipe = config.resolve(PRESET, overrides)
    return data.load(name, lambda native: config.at_input(recipe, PRESET, native), data_dir)


@pytest.fixture(scope="module")
def digits():
    return load()


def test_the_parts_of_digits_are_disjoint_and_whole(digits):
    divided = split.divide(digits)
    assert sorted(np.concatenate(list(divided.values()))) == list(range(1797))
    assert [len(rows) for rows in divided.values()] == pytest.approx([1078, 359, 360], abs=4)


def test_every_part_has_the_classes_in_the_same_proportion(digits):
    divided = split.divide(digits)
    whole = np.bincount(digits.classes) / len(digits.classes)
    for rows in divided.values():
        np.testing.assert_allclose(np.bincount(digits.classes[rows]) / len(rows), whole, atol=0.005)


def test_the_seed_decides_the_division(digits):
    same, other = split.divide(load()), split.divide(load(seed="1"))
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


def test_the_digest_changes_with_the_division_and_only_with_it(digits):
    one, same, other = (
        json.loads(split.write(found, split.divide(found)))["digest"] for found in (digits, load(), load(seed="1"))
    )
    assert one == same != other


def test_mnist_keeps_its_test_part_and_is_recorded_quickly(shared_data):
    found = load("mnist", shared_data / "mnist")
    divided = split.divide(found)
    assert [len(rows) for rows in divided.values()] == pytest.approx([54_000, 6_000, 10_000], abs=5)
    assert all(found.files[row].startswith("t10k-images-idx3-ubyte.gz#") for row in divided["test"])
    started = time.perf_counter()
    split.write(found, divided)
    assert time.perf_counter() - started < 2
