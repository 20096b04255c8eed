"""Real versions, compared before one of them goes into production."""

import json

import pytest

from artifacts import settings
from artifacts.bundle import read
from artifacts.store import Reference, Store
from exporters.export import export
from exporters.variants import Order
from serving.comparison.child import measure_in_a_child
from serving.comparison.gate import measure_here
from tests import runs
from tests.real import Home
from training import models

SHAPE, CLASSES = (16, 20, 3), 4
WORSE = 2


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A home with tones@1 in production; @2 has learnt nothing, and @3 knows one class more."""
    home = Home(tmp_path_factory.mktemp("compared"))
    store = Store(home.path / "models")
    for version, classes in ((1, CLASSES), (2, CLASSES), (3, CLASSES + 1)):
        model = models.build("crosses-noughts", SHAPE, classes, seed=version)
        training = runs.drawn(SHAPE, classes, 64, seed=1)
        if version != WORSE:
            runs.settle(model, training)
        run = runs.write(home.path / "runs" / str(version), model, runs.drawn(SHAPE, classes, 40, seed=7), training)
        assert export(run, store, "tones", Order(("fp32",))).version == version
    store.deploy(Reference("tones", 1))
    return home


def test_a_worse_version_is_refused_unless_it_is_asked_for_all_the_same(compared):
    done = compared.run("deploy", "tones@2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tones@2 is not good enough for production: accuracy 0." in done.stderr
    assert "--require none deploys it all the same" in done.stderr
    comparisons = compared.path / "models" / "tones" / "comparisons"
    told = json.loads((comparisons / "2-1.json").read_text())
    assert told["pictures"] == 40
    assert told["current"]["scores"]["accuracy"] > told["candidate"]["scores"]["accuracy"]
    export_page = comparisons.parent / "2" / "report" / "export.html"
    assert 'href="../../comparisons/index.html"' in export_page.read_text()
    assert 'href="2-1.html"' in (comparisons / "index.html").read_text()
    assert (comparisons / "2-1.html").read_text().count("<figure") == len(told["changed"]["shown"]) > 0
    assert compared.json("deploy", "tones@2", "--alias", "canary")["aliases"] == {"production": 1, "canary": 2}
    assert compared.json("deploy", "tones@2", "--require", "none")["aliases"]["production"] == 2
    assert compared.json("deploy", "tones@1")["aliases"]["production"] == 1
    assert compared.json("rollback", "tones")["aliases"]["production"] == 2  # nothing is asked of a way back
    assert compared.json("rollback", "tones")["aliases"]["production"] == 1


def test_a_version_that_knows_one_class_more_is_compared_and_deployed(compared):
    compared.json("deploy", "tones@1", "--require", "none")
    done = compared.run("deploy", "tones@3", "--require", "recall[label 4] >= current + 0.5")
    assert done.returncode == 0, done.stderr
    assert "recall of label 4 1.0000, tones@1 has 0.0000" in done.stderr
    told = json.loads((compared.path / "models/tones/comparisons/3-1.json").read_text())
    assert told["labels"] == {"added": ["label 4"], "removed": []}
    compared.json("deploy", "tones@1", "--require", "none")


def test_a_child_measures_the_same(compared):
    wanted = settings.read({"TINTYPE_HOME": str(compared.path)})
    one, two = (read(compared.path / "models" / "tones" / version) for version in ("1", "2"))
    here, there = measure_here(wanted)(two, one), measure_in_a_child(wanted)(two, one)
    assert {**here, "created": ""} == {**there, "created": ""}


@pytest.mark.parametrize(
    ("require", "code", "says"),
    [
        ("accuracy", 2, "a requirement reads like 'accuracy >= current - 0.005'"),
        ("precission[cat] > 0.5", 2, "there is no metric 'precission'"),
        ("recall[cow] > 0.5", 2, "none of the held-out pictures shows 'cow'; they show: label 0, label 1"),
    ],
)
def test_a_mistake_in_the_requirement_gets_a_sentence(compared, require, code, says):
    done = compared.run("deploy", "tones@3", "--require", require)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
