import json
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from artifacts import bundle, speed
from artifacts.speed import figures, keep, machine

FAST = {"images_per_second": 900.0, "best_batch": 8, "profile": []}
SLOW = {"images_per_second": 90.0, "best_batch": 2, "profile": []}

# A process on a machine of a name of its own, which keeps its figures.
KEEP = """
import pathlib, sys
from artifacts import bundle, speed
here = {**speed.machine(), "processor": sys.argv[2]}
speed.machine = lambda: here
version = bundle.read(pathlib.Path(sys.argv[1]))
speed.keep(version, {"fp32": {"images_per_second": 1.0, "best_batch": 1, "profile": []}})
"""


@pytest.fixture
def version(publish):
    """A version that was measured at its export."""
    return publish()


@pytest.fixture
def file(version):
    """Where its figures are kept; none are yet."""
    return version.path.parent / "profiles" / "1.json"


@pytest.fixture
def elsewhere(monkeypatch):
    """Be on another machine."""

    def move(**differences):
        there = {**machine(), **differences}
        monkeypatch.setattr(speed, "machine", lambda: there)

    return move


def kept(file):
    return json.loads(file.read_text())["machines"]


def test_a_machine_is_told_by_its_processor_and_its_cores():
    here = machine()
    assert here["cores"] == len(os.sched_getaffinity(0))
    assert here["onnxruntime"] == onnxruntime.__version__
    assert here["processor"]
    assert here["system"].startswith("Linux")
    assert json.loads(json.dumps(here)) == here


def test_where_there_is_no_list_of_processors_the_kind_of_machine_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "CPUINFO", tmp_path / "missing")
    assert machine()["processor"] == os.uname().machine
    (tmp_path / "missing").write_text("processor : 0\nmodel name\t: A: B 3\nprocessor : 1\nmodel name\t: C\n")
    assert machine()["processor"] == "A: B 3"


def test_until_it_is_measured_anew_the_manifest_says_how_fast_a_version_is(version):
    assert figures(version) == version.manifest["variants"]


def test_what_was_measured_on_this_machine_counts_and_the_version_stays_sealed(version, file):
    assert keep(version, {"fp32": FAST}) == file
    assert figures(version) == {"fp32": FAST}
    assert kept(file) == [{"measured_on": machine(), "variants": {"fp32": FAST}}]
    assert bundle.verify(version.path).sha256 == version.sha256
    assert figures(bundle.read(version.path)) == {"fp32": FAST}


def test_the_folder_of_figures_is_no_version(version, store):
    keep(version, {"fp32": FAST})
    assert store.versions("digits") == [1]
    assert store.names() == ["digits"]


def test_a_new_measurement_takes_the_place_of_the_old_one(version, file, elsewhere):
    keep(version, {"fp32": SLOW})
    elsewhere(system="Linux 99", onnxruntime="9.9.9")  # the same machine, with newer programs
    assert figures(version) == {"fp32": SLOW}
    keep(version, {"fp32": FAST})
    assert figures(version) == {"fp32": FAST}
    assert [each["measured_on"]["onnxruntime"] for each in kept(file)] == ["9.9.9"]


@pytest.mark.parametrize("differences", [{"processor": "another"}, {"cores": 64}])
def test_the_figures_of_another_machine_are_kept_beside_and_do_not_count_here(version, file, elsewhere, differences):
    keep(version, {"fp32": FAST})
    with pytest.MonkeyPatch.context() as patched:
        there = {**machine(), **differences}
        patched.setattr(speed, "machine", lambda: there)
        assert figures(version) == version.manifest["variants"]
        keep(version, {"fp32": SLOW})
        assert figures(version) == {"fp32": SLOW}
    assert figures(version) == {"fp32": FAST}
    assert [each["measured_on"] for each in kept(file)] == [machine(), there]
    keep(version, {"fp32": SLOW})
    assert [each["variants"]["fp32"] for each in kept(file)] == [SLOW, SLOW]


def test_each_version_has_figures_of_its_own(publish):
    first, second = publish(), publish(content=b"another graph")
    keep(second, {"fp32": FAST})
    assert figures(first) == first.manifest["variants"]
    assert figures(second) == {"fp32": FAST}


def whole(version, **differences):
    """What a file of figures says."""
    entry = {"measured_on": machine(), "variants": {"fp32": FAST}}
    return {"sha256": version.sha256, "machines": [{**entry, **differences}]}


DAMAGED = [
    "",
    "{",
    "null",
    "[]",
    "3",
    '"text"',
    "{}",
    "[" * 100_000,
    "\x00",
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_as_none_and_can_be_measured_again(version, file, text):
    file.parent.mkdir()
    file.write_text(text)
    assert figures(version) == version.manifest["variants"]
    keep(version, {"fp32": FAST})
    assert figures(version) == {"fp32": FAST}


@pytest.mark.parametrize(
    "differences",
    [
        {"measured_on": None},
        {"measured_on": "here"},
        {"measured_on": 3},
        {"measured_on": []},
        {"variants": None},
        {"variants": []},
        {"variants": {}},
        {"variants": {"fp32": None}},
        {"variants": {"fp32": {}}},
        {"variants": {"fp32": {"images_per_second": 3.0}}},
        {"variants": {"fp32": {"best_batch": 3}}},
        {"variants": {"fp32": {**FAST, "best_batch": 0}}},
        {"variants": {"fp32": {**FAST, "best_batch": "8"}}},
        {"variants": {"fp32": {**FAST, "best_batch": None}}},
        {"variants": {"fp32": {**FAST, "images_per_second": 0}}},
        {"variants": {"fp32": {**FAST, "images_per_second": -3}}},
        {"variants": {"fp32": {**FAST, "images_per_second": "900"}}},
        {"variants": {"fp32": {**FAST, "images_per_second": float("nan")}}},
        {"variants": {"fp32": {**FAST, "best_batch": float("nan")}}},
        {"variants": {"fp32": {**FAST, "best_batch": float("inf")}}},
        {"variants": {"fp32": {**FAST, "best_batch": 2.5}}},
        {"variants": {"int8": FAST}},
        {"variants": {"fp32": FAST, "int8": FAST}},
    ],
)
def test_figures_that_no_measurement_gives_do_not_count(version, file, differences):
    file.parent.mkdir()
    file.write_text(json.dumps(whole(version)))
    assert figures(version) == {"fp32": FAST}, "or the test would prove nothing"
    file.write_text(json.dumps(whole(version, **differences)))
    assert figures(version) == version.manifest["variants"]


@pytest.mark.parametrize("machines", [None, 3, {}, [None], [3], [[]], ["text"]])
def test_a_list_of_machines_that_is_none_does_not_count(version, file, machines):
    file.parent.mkdir()
    file.write_text(json.dumps({"sha256": version.sha256, "machines": machines}))
    assert figures(version) == version.manifest["variants"]
    keep(version, {"fp32": FAST})
    assert figures(version) == {"fp32": FAST}


def test_figures_of_another_version_of_this_number_do_not_count(version, file):
    file.parent.mkdir()
    file.write_text(json.dumps({**whole(version), "sha256": "0" * 64}))
    assert figures(version) == version.manifest["variants"]
    keep(version, {"fp32": SLOW})
    assert json.loads(file.read_text())["sha256"] == version.sha256
    assert kept(file) == [{"measured_on": machine(), "variants": {"fp32": SLOW}}]


def test_machines_that_share_a_store_lose_nothing_when_they_measure_at_once(version, file):
    names = [f"machine {number}" for number in range(6)]
    command = [sys.executable, "-c", KEEP, version.path]
    running = [subprocess.Popen([*command, name], cwd=Path(__file__).parents[2]) for name in names]
    assert [process.wait() for process in running] == [0] * len(names)
    assert sorted(each["measured_on"]["processor"] for each in kept(file)) == names
    assert figures(version) == version.manifest["variants"]
