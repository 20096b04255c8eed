import numpy as np
import pytest

from artifacts.census import FEATURES, Census, Look
from serving.telemetry.drift import OTHERS, families, shifts, worst


def drawn(count, seed, tone=100.0, spread=20.0, side=32, classes=10):
    """A census of pictures of some tone, each with a label by chance."""
    random = np.random.default_rng(seed)
    counted = Census()
    for label, sure, light in zip(
        random.integers(0, classes, count), random.beta(8, 1, count), random.normal(tone, spread, count), strict=True
    ):
        counted.add(Look(str(label), float(sure), float(np.clip(light, 0, 255)), side * side))
    return counted


def census(**labels):
    counted = Census()
    for label, count in labels.items():
        for _ in range(count):
            counted.add(Look(label, 1.0, 0.0, 1))
    return counted


def test_the_index_is_that_of_the_books():
    """(0.2 - 0.5) ln(0.2 / 0.5) + (0.8 - 0.5) ln(0.8 / 0.5), but for half a picture in each bin."""
    shift = shifts(census(a=50_000, b=50_000), census(a=20_000, b=80_000))["label"]
    assert shift.psi == pytest.approx(0.3 * np.log(2.5) + 0.3 * np.log(1.6), abs=1e-4)
    assert [(each.name, each.reference, each.window) for each in shift.bins] == [("a", 0.5, 0.2), ("b", 0.5, 0.8)]


def test_the_same_pictures_have_not_drifted():
    same = drawn(500, 0)
    found = shifts(same, same)
    assert list(found) == list(FEATURES)
    assert all(shift.psi == 0 for shift in found.values())
    assert worst(found) == "stable"


def test_by_chance_alone_hardly_anything_drifts():
    """A window of the reference's own population: of 4 features, 1 in 100 may exceed what chance seldom makes."""
    found = [shifts(drawn(300, 0), drawn(400, seed)) for seed in range(1, 51)]
    beyond = [shift for each in found for shift in each.values() if shift.psi > max(shift.by_chance, 0.1)]
    assert len(beyond) <= 6
    assert np.mean([each["label"].psi for each in found]) == pytest.approx(9 * (1 / 300 + 1 / 400), rel=0.5)


@pytest.mark.parametrize(
    ("window", "feature"),
    [
        ({"tone": 160.0}, "brightness"),
        ({"side": 64}, "size"),
        ({"classes": 4}, "label"),
    ],
)
def test_pictures_of_another_kind_have_drifted_in_what_differs(window, feature):
    found = shifts(drawn(300, 0), drawn(300, 1, **window))
    assert found[feature].level == "drifted"
    assert found[feature].psi > 0.25
    assert worst(found) == "drifted"
    assert {name for name, shift in found.items() if shift.level == "drifted"} == {feature}


def test_a_small_change_is_told_as_a_shift():
    found = shifts(drawn(4000, 0), drawn(4000, 1, tone=107.0))
    assert found["brightness"].level == "shifting"


def test_of_few_pictures_nobody_can_say_unless_they_are_all_different():
    assert shifts(drawn(300, 0), Census())["label"].level == "unknown"
    assert shifts(drawn(300, 0), drawn(5, 1))["label"].level == "unknown"
    assert shifts(drawn(300, 0), drawn(20, 1, tone=250.0, spread=1.0))["brightness"].level == "drifted"


def test_labels_that_hardly_occur_are_counted_together():
    reference = census(common=96, rare=2, odd=2)
    shift = shifts(reference, census(common=95, rare=5))["label"]
    assert [each.name for each in shift.bins] == ["common", OTHERS]
    assert shift.level == "stable"


def test_the_metrics_are_of_the_versions_in_the_window_alone():
    windows = {("digits", 2): drawn(300, 1, tone=160.0), ("old", 1): drawn(3, 1)}
    pictures, psi = families(windows, {("digits", 2): drawn(300, 0), ("old", 1): None})
    assert [(each.labels, each.value) for each in pictures.samples] == [
        ({"model": "digits", "version": "2"}, 300),
        ({"model": "old", "version": "1"}, 3),
    ]
    assert [each.labels["feature"] for each in psi.samples] == list(FEATURES)
    assert {each.labels["model"] for each in psi.samples} == {"digits"}
    assert next(each.value for each in psi.samples if each.labels["feature"] == "brightness") > 0.25
