import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from artifacts.census import Census, Look
from serving.records import Record
from serving.telemetry import drift
from serving.telemetry.exposition import State, as_text, exposition
from serving.telemetry.requests import RequestMetrics
from serving.telemetry.stats import EngineStats
from tests.real import ROOT

LABELS = re.compile(r"(\w+)(?:=~|!=|!~|=)\"")


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((ROOT / "deploy" / "grafana" / "tintype.json").read_text())


@pytest.fixture(scope="module")
def exposed():
    """{name of a sample: its labels}."""
    metrics = RequestMetrics()
    metrics.add([Record("id", 1.7e9, 0, route="/predict", status=200, pictures=1)])
    model = {"name": "digits", "version": 1, "sha256": "0" * 64, "variant": "fp32"}
    text = exposition(metrics, EngineStats(), State([model], 1, workers=1))
    counted = Census()
    counted.add(Look("7", 0.9, 100.0, 1024))
    text += as_text(drift.families({("digits", 1): counted}, {("digits", 1): counted}))
    return {
        sample.name: set(sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
    }


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_metric_that_a_panel_asks_for_is_exposed(dashboard, exposed):
    named = {name for expression in expressions(dashboard) for name in re.findall(r"tintype_\w+", expression)}
    assert named <= exposed.keys()


def test_every_label_that_a_panel_asks_for_is_one_of_its_metrics(dashboard, exposed):
    for expression in expressions(dashboard):
        for name, chosen in re.findall(r"(tintype_\w+)\{([^}]*)\}", expression):
            assert set(LABELS.findall(chosen)) <= exposed[name] | {"job", "worker"}, expression
        known = {label for name in re.findall(r"tintype_\w+", expression) for label in exposed[name]}
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            assert set(grouped.split(", ")) <= known | {"worker"}, expression


def test_every_metric_of_ours_is_in_a_panel(dashboard, exposed):
    shown = " ".join(expressions(dashboard))
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in exposed}
    assert {name for name in families if name not in shown} == set()


def test_panels_do_not_overlap_and_have_names_of_their_own(dashboard):
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(titles)) == len(titles)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(titles)


def test_the_documentation_describes_each_metric_and_no_other(exposed):
    text = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(tintype_\w+)", text, re.MULTILINE))
    assert documented == {re.sub("_(bucket|count|sum)$", "", name) for name in exposed}
