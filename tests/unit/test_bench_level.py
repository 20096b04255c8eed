import json
from array import array

import pytest

from serving.bench.level import SAMPLE, Tally, percentiles
from serving.bench.response import Response
from tests.scripted import PREDICTED, answer, problem, response


def taken(data):
    incoming = Response()
    assert incoming.take(data)
    return incoming


def test_percentiles_of_known_latencies():
    latencies = array("d", [number / 1000 for number in range(1, 102)])  # 1 to 101 ms
    assert percentiles(latencies) == pytest.approx((51, 96, 100, 101))


def test_percentiles_do_not_depend_on_the_order():
    assert percentiles(array("d", [0.004, 0.001, 0.003, 0.002])) == pytest.approx((2.5, 3.85, 3.97, 4))


def test_percentiles_of_one_and_of_none():
    assert percentiles(array("d", [0.007])) == pytest.approx((7, 7, 7, 7))
    assert percentiles(array("d")) == (None, None, None, None)


def test_only_answers_with_200_are_throughput():
    tally = Tally()
    for data, latency in [(answer(PREDICTED), 0.01), (problem(429, "full"), 0.001), (answer(PREDICTED), 0.03)]:
        tally.add(taken(data), latency)
    tally.failed["connection closed"] += 1
    level = tally.level(8, seconds=4.0, cores=0.25)
    assert (level.connections, level.ok, level.requests_per_second) == (8, 2, 0.5)
    assert (level.p50_ms, level.max_ms) == pytest.approx((20, 30))
    assert (level.refused, level.failed) == ({"429": 1}, {"connection closed": 1})
    assert level.bad == {"429": 1, "connection closed": 1}


def test_the_first_refusal_of_each_status_is_quoted():
    tally = Tally()
    for data in (problem(429, "full"), problem(429, "still full"), problem(503, "no model"), response(502, b"<html>")):
        tally.add(taken(data), 0.001)
    assert tally.level(1, 1.0, 0.1).said == {"429": "full", "503": "no model", "502": ""}


def test_stages_are_the_medians_of_a_sample_of_the_answers():
    tally = Tally()
    for number in range(3 * SAMPLE):
        sampled = number % SAMPLE == 0
        timings = {"decode_ms": 0.5, "wait_ms": 1.0 + number // SAMPLE, "infer_ms": 4.0} if sampled else "not looked at"
        tally.add(taken(response(200, json.dumps({"timings": timings}).encode())), 0.01)
    assert tally.level(1, 1.0, 0.1).stages_ms == {"decode": 0.5, "wait": 2.0, "infer": 4.0}


@pytest.mark.parametrize("body", [b"", b"label,confidence", b"[1]", b"{}", b'{"timings": 3}', b"[" * 100_000])
def test_answers_without_timings_have_no_stages(body):
    tally = Tally()
    tally.add(taken(response(200, body)), 0.01)
    level = tally.level(1, 1.0, 0.1)
    assert (level.ok, level.stages_ms) == (1, None)
