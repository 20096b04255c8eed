import json

import numpy as np
import pytest

from artifacts.errors import BadData
from training import config, models, presets
from training.data.dataset import Data
from training.learning.folds import FILE, cross_validate, folds


def data(classes, pixels=None, sha256=None, **overrides):
    count = len(classes)
    recipe = config.resolve(presets.read("mlp-32"), {"input": "8x8x1", **overrides})
    pixels = np.zeros((count, 8, 8, 1), np.uint8) if pixels is None else pixels
    names = [str(number) for number in range(count)]
    parts = np.full(count, "train")
    return Data(recipe, ["a", "b"], pixels, np.array(classes), names, sha256 or names, parts, {}, [], bytes)


LOPSIDED = [0] * 10 + [1] * 20
ALL = np.arange(30)


def test_folds_are_a_division_with_each_class_in_its_share():
    parts = folds(data(LOPSIDED), ALL, 5)
    assert sorted(np.concatenate(parts).tolist()) == list(range(30))
    assert all(np.bincount(np.array(LOPSIDED)[part]).tolist() == [2, 4] for part in parts)


def test_the_seed_decides_the_folds():
    one, same, other = ([part.tolist() for part in folds(data(LOPSIDED, seed=seed), ALL, 3)] for seed in "112")
    assert one == same != other


def test_copies_of_a_picture_are_in_one_fold():
    sha256 = [str(number // 2) for number in range(30)]
    parts = folds(data(LOPSIDED, sha256=sha256), ALL, 5)
    assert sorted(np.concatenate(parts).tolist()) == list(range(30))
    assert all(len({sha256[row] for row in part}) == len(part) / 2 for part in parts)


def test_more_folds_than_pictures_of_a_class_are_refused():
    with pytest.raises(BadData, match="the class 'a' has 10 different pictures for 11 folds; set folds to 10 or less"):
        folds(data(LOPSIDED), ALL, 11)


def test_each_fold_is_judged_by_a_model_that_has_not_seen_it_and_none_is_done_twice(tmp_path):
    """Random labels: who has seen a picture can know it, who has not is at chance."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    random = data(rng.permutation([0, 1] * 30), pixels, folds="3", epochs="30", batch_size="8")
    built = []

    def build():
        built.append(models.build("mlp-32", (8, 8, 1), 2, seed=len(built)))
        return built[-1]

    accuracies = cross_validate(build, random, np.arange(10, 60), tmp_path)
    assert len(accuracies) == len(built) == 3
    assert np.mean(accuracies) < 0.8
    (tmp_path / FILE).write_text(json.dumps(accuracies[:2]))
    assert len(cross_validate(build, random, np.arange(10, 60), tmp_path)) == 3
    assert len(built) == 4
