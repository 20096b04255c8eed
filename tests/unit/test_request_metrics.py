import numpy as np
import prometheus_client
import pytest

from serving.records import Record
from serving.telemetry.histogram import Histogram
from serving.telemetry.requests import SECONDS, RequestMetrics
from serving.telemetry.stats import SIZES, EngineStats

ANSWERED = {
    "route": "/predict", "status": 200, "model": "digits", "version": 1, "variant": "fp32", "pictures": 1,
    "decode": 0.001, "wait": 0.01, "infer": 0.1, "batch": 4, "total": 1.0,
}  # fmt: skip


def record(**filled):
    return Record("id", 1.7e9, 0.0, "POST", "/predict", **filled)


def samples(families):
    """{(name, labels): value} of all."""
    return {(each.name, *sorted(each.labels.values())): each.value for family in families for each in family.samples}


def test_in_bulk_it_counts_as_prometheus_does_one_by_one():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.lognormal(-6, 3, 2000), SECONDS, np.nextafter(SECONDS, np.inf)])
    ours = Histogram(SECONDS)
    theirs = prometheus_client.Histogram("seconds", "", buckets=SECONDS, registry=None)
    for part in np.split(values, [1, 1, 500]):
        ours.observe(part)
    for value in values:
        theirs.observe(value)
    expected = {each.labels.get("le", each.name): each.value for each in theirs.collect()[0].samples}
    assert dict(ours.buckets()) == {bound: expected[bound] for bound, _ in ours.buckets()}
    assert ours.buckets()[-1] == ("+Inf", expected["seconds_count"])
    assert ours.sum == pytest.approx(expected["seconds_sum"])


def test_requests_are_counted_by_route_status_and_outcome():
    metrics = RequestMetrics()
    metrics.add([record(**ANSWERED), record(**ANSWERED), record(route="/predict", status=429, outcome="queue_full")])
    metrics.add([record(route="other", status=404, outcome="not_found")])
    found = samples(metrics.families())
    assert {key: value for key, value in found.items() if key[0] == "tintype_requests_total"} == {
        ("tintype_requests_total", "/predict", "200", "ok"): 2,
        ("tintype_requests_total", "/predict", "429", "queue_full"): 1,
        ("tintype_requests_total", "404", "not_found", "other"): 1,
    }


def test_each_stage_that_was_reached_has_its_time():
    metrics = RequestMetrics()
    metrics.add([record(**ANSWERED), record(**ANSWERED | {"batch": 0, "status": 504, "wait": 0.0, "infer": 0.0})])
    found = samples(metrics.families())
    assert [found["tintype_request_seconds_count", stage] for stage in ("decode", "wait", "infer", "total")] == [
        2, 1, 1, 2,
    ]  # fmt: skip
    assert [found["tintype_request_seconds_sum", stage] for stage in ("decode", "wait", "infer", "total")] == [
        pytest.approx(0.002), pytest.approx(0.01), pytest.approx(0.1), pytest.approx(2.0),
    ]  # fmt: skip


def test_a_wait_of_no_time_is_a_wait():
    metrics = RequestMetrics()
    metrics.add([record(**ANSWERED | {"wait": 0.0})])
    assert samples(metrics.families())["tintype_request_seconds_count", "wait"] == 1


def test_requests_without_pictures_do_not_flatter_the_latency():
    metrics = RequestMetrics()
    metrics.add([record(route="/health/live", status=200, total=0.0001)])
    assert samples(metrics.families())["tintype_request_seconds_count", "total"] == 0


def test_pictures_are_answered_refused_or_failed():
    metrics = RequestMetrics()
    metrics.add([
        record(**ANSWERED | {"pictures": 10, "refused": 3}),
        record(**ANSWERED | {"pictures": 1, "refused": 1, "status": 415, "outcome": "not_an_image"}),
        record(**ANSWERED | {"pictures": 5, "refused": 1, "status": 429, "outcome": "queue_full"}),
    ])  # fmt: skip
    found = samples(metrics.families())
    assert [found["tintype_pictures_total", outcome] for outcome in ("answered", "refused", "failed")] == [7, 5, 4]


def test_batches_are_counted_by_their_size_and_not_by_their_requests():
    stats = EngineStats()
    theirs = prometheus_client.Histogram("size", "", buckets=SIZES, registry=None)
    for size in (1, 1, 2, 3, 4, 64, 1024, 5000):
        stats.batch(size, 0.25)
        theirs.observe(size)
    found = samples(stats.families())
    expected = {(each.name, *each.labels.values()): each.value for each in theirs.collect()[0].samples}
    assert {(name.replace("tintype_batch_", ""), *rest): value for (name, *rest), value in found.items()
            if name.startswith("tintype_batch_")} == {
        key: value for key, value in expected.items() if key[0] != "size_created"
    }  # fmt: skip
    assert found["tintype_engine_busy_seconds_total",] == 2.0


def test_an_engine_that_has_done_nothing_says_so():
    found = samples(EngineStats().families())
    assert found["tintype_batch_size_count",] == found["tintype_engines",] == found["tintype_expired_total",] == 0
