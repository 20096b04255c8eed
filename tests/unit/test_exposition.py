import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.records import Record
from serving.telemetry.exposition import Snapshot, State, exposition, merged
from serving.telemetry.requests import RequestMetrics
from serving.telemetry.stats import EngineStats

DIGITS = {"name": "digits", "version": 3, "sha256": "0123456789abcdef" * 4, "variant": "int8"}


def process(requests=1, expired=0, **state):
    """The text of a process that answered some requests of 10 ms."""
    metrics, stats = RequestMetrics(), EngineStats()
    answered = Record("id", 1.7e9, 0, route="/predict", status=200, pictures=1, total=0.01)
    metrics.add([answered] * requests)
    stats.engines, stats.expired = 2, expired
    for _ in range(requests):
        stats.batch(4, 0.5)
    return exposition(metrics, stats, State(**{"models": [DIGITS], "queue_depth": 5, "workers": 1} | state))


def values(text):
    """{name{labels in order}: value}."""
    return {
        each.name + "".join(f" {name}={value}" for name, value in sorted(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_a_process_tells_what_is_promised():
    families = {family.name: family.type for family in text_string_to_metric_families(process())}
    assert families == {
        "tintype_requests": "counter",
        "tintype_request_seconds": "histogram",
        "tintype_pictures": "counter",
        "tintype_log_dropped": "counter",
        "tintype_batch_size": "histogram",
        "tintype_engine_busy_seconds": "counter",
        "tintype_engines": "gauge",
        "tintype_expired": "counter",
        "tintype_claimed": "counter",
        "tintype_poisoned": "counter",
        "tintype_model_live": "gauge",
        "tintype_queue_depth": "gauge",
        "tintype_workers": "gauge",
        "tintype_process_resident_memory_bytes": "gauge",
        "tintype_process_cpu_seconds": "counter",
        "tintype_process_open_fds": "gauge",
    }


def test_a_live_model_is_named_by_version_variant_and_the_beginning_of_its_sha256():
    assert values(process())["tintype_model_live model=digits sha256=0123456789ab variant=int8 version=3"] == 1


def test_a_worker_without_http_tells_of_its_engine_alone():
    told = values(exposition(None, EngineStats(), State(workers=1)))
    assert told["tintype_workers"] == 1
    assert not [name for name in told if "request" in name]
    assert not [name for name in told if name.startswith("tintype_queue_depth")]  # it is not known there


def test_the_text_of_one_process_is_its_own_sum():
    text = process(3)
    assert merged({"one": Snapshot(text)}) == text


def test_counters_and_histograms_are_added_up():
    told = values(merged({"a": Snapshot(process(2, expired=1)), "b": Snapshot(process(3))}))
    assert told["tintype_requests_total outcome=ok route=/predict status=200"] == 5
    assert told["tintype_request_seconds_bucket le=0.01 stage=total"] == 5
    assert told["tintype_request_seconds_bucket le=0.005 stage=total"] == 0
    assert told["tintype_request_seconds_sum stage=total"] == pytest.approx(0.05)
    assert told["tintype_batch_size_count"] == 5
    assert told["tintype_engine_busy_seconds_total"] == 2.5
    assert told["tintype_expired_total"] == 1


def test_gauges_are_added_up_where_each_process_has_its_own():
    told = values(merged({"a": Snapshot(process()), "b": Snapshot(process())}))
    assert told["tintype_engines"] == 4
    assert told["tintype_workers"] == 2
    assert told["tintype_queue_depth lane=memory"] == 10


def test_what_all_processes_see_the_same_of_is_not_added_up():
    shared = {"lane": "redis", "queue_depth": 7}
    told = values(merged({"a": Snapshot(process(**shared)), "b": Snapshot(process(**shared | {"queue_depth": 6}))}))
    assert told["tintype_queue_depth lane=redis"] == 7
    assert told["tintype_model_live model=digits sha256=0123456789ab variant=int8 version=3"] == 1


def test_the_dead_are_counted_and_hold_nothing_any_more():
    told = values(merged({"a": Snapshot(process(2)), "b": Snapshot(process(3), alive=False)}))
    assert told["tintype_requests_total outcome=ok route=/predict status=200"] == 5
    assert told["tintype_batch_size_count"] == 5
    assert told["tintype_engines"] == 2
    assert told["tintype_queue_depth lane=memory"] == 5
    alone = values(merged({"b": Snapshot(process(3), alive=False)}))
    assert not [name for name in alone if name.startswith(("tintype_workers", "tintype_model_live"))]


def test_the_series_of_a_worker_keep_its_name_so_that_none_falls_when_another_is_gone():
    one, two = Snapshot(process(2), worker="one"), Snapshot(process(3), worker='t"w\\o')
    told = values(merged({"web": Snapshot(process(5)), "1": one, "2": two}))
    assert told["tintype_batch_size_count"] == 5
    assert told["tintype_batch_size_count worker=one"] == 2
    assert told['tintype_batch_size_count worker=t"w\\o'] == 3
    left = values(merged({"web": Snapshot(process(5)), "1": one}))
    assert left == {name: value for name, value in told.items() if 't"w' not in name} | {
        name: value for name, value in left.items() if "_process_" in name
    }


def test_each_family_stands_in_one_piece():
    text = merged({"a": Snapshot(process()), "b": Snapshot(process(), worker="one")})
    types = [line for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types)) == 16
    assert len(list(text_string_to_metric_families(text))) == 16


@pytest.mark.parametrize("broken", ["tintype_engines{", "no metric", 'tintype_engines{worker="a} 1', "a 1 2 3 x\n{} 1"])
def test_a_text_that_cannot_be_read_is_left_out_and_logged(broken, caplog):
    with caplog.at_level(logging.WARNING):
        text = merged({"a": Snapshot(process()), "worker b": Snapshot(process() + broken)})
    assert values(text)["tintype_engines"] == 2
    assert "the metrics of worker b cannot be read" in caplog.text


def test_no_text_however_cut_off_keeps_the_others_from_being_told(caplog):
    text = process()
    for end in range(0, len(text), 151):
        assert "tintype_engines 2.0\n" in merged({"cut": Snapshot(text[:end], alive=False), "a": Snapshot(text)})


def test_nothing_comes_to_nothing():
    assert merged({}) == ""
