from collections import Counter

import pytest

from artifacts.rollouts import Gates, Order, Rollout, Status
from serving.rollouts.gates import verdict
from serving.rollouts.tally import Tally, above, bucket, p95

FAST, USUAL, SLOW = bucket(0.001), bucket(0.02), bucket(0.2)
GATES = Gates(errors=0.01, latency=2.0, disagreement=0.1, requests=100)


def rollout(kind="canary"):
    return Rollout("1", "digits", 5, 4, Order(kind, 0.1, 600.0, GATES), "anna", "", "2026-11-22T00:00:00Z")


def tally(**changes):
    usual = {"requests": 200, "compared": 200, "candidate": Counter({USUAL: 200}), "production": Counter({USUAL: 200})}
    return Tally(**{**usual, **changes})


def ended(counted, age, kind="canary"):
    found = verdict(rollout(kind), counted, age)
    return (found.status, found.reason) if found else None


def test_a_good_one_goes_on_until_its_time_is_over_and_is_promoted():
    assert ended(tally(), 599) is None
    status, reason = ended(tally(disagreed=6), 600)
    assert status == Status.PROMOTED
    assert reason.startswith("digits@5 answered 200 requests, 0 of them not; it gave production's label to 194 of 200")


@pytest.mark.parametrize(
    ("counted", "says"),
    [
        ({"failed": 5}, "failed 5 of 400 times; at most 1.00% are allowed"),
        ({"errors": 5}, "failed 5 of 405 times"),
        ({"disagreed": 21}, "gave another label than production to 21 of 200 pictures; at most 10.00% are allowed"),
        ({"candidate": Counter({USUAL: 180, SLOW: 20})}, "has a p95 of"),
        ({"refused": "model.onnx was altered"}, "cannot be loaded: model.onnx was altered"),
    ],
)
def test_a_bad_one_is_taken_back_before_its_time_is_over(counted, says):
    status, reason = ended(tally(**counted), 1)
    assert status == Status.TAKEN_BACK
    assert reason.startswith(f"digits@5 {says}")


@pytest.mark.parametrize(
    "counted",
    [
        {"failed": 4},
        {"disagreed": 20},
        {"candidate": Counter({USUAL: 190, SLOW: 10})},
        {"candidate": Counter({bucket(0.004): 200}), "production": Counter({FAST: 200})},  # within the slack
    ],
)
def test_what_keeps_to_the_gates_is_left_alone(counted):
    assert ended(tally(**counted), 1) is None


def test_of_few_requests_a_gate_closes_as_soon_as_no_further_ones_could_open_it():
    few = {"requests": 3, "compared": 3}
    assert ended(tally(**few, failed=1), 1) is None  # 1 of 100 may be
    assert ended(tally(**few, failed=2), 1)[0] == Status.TAKEN_BACK
    assert ended(tally(requests=12, compared=12, disagreed=10), 1) is None
    assert ended(tally(requests=12, compared=12, disagreed=11), 1)[0] == Status.TAKEN_BACK


def test_a_p95_of_a_few_pictures_is_not_believed():
    slow = {"candidate": Counter({SLOW: 4}), "production": Counter({USUAL: 4})}
    assert ended(tally(compared=4, **slow), 1) is None
    assert ended(tally(compared=0, candidate=Counter(), production=Counter()), 1) is None


@pytest.mark.parametrize("few", [{"requests": 99}, {"compared": 99}])
def test_without_enough_requests_it_is_taken_back_for_nothing_is_known(few):
    status, reason = ended(tally(**few), 600)
    assert status == Status.TAKEN_BACK
    assert "to judge it, 100 of each are needed" in reason


def test_a_shadow_is_only_looked_at():
    assert ended(tally(disagreed=200, errors=50), 1, "shadow") is None
    assert ended(tally(), 600, "shadow") == (
        Status.FINISHED, "digits@5 was asked about 200 pictures besides production",
    )  # fmt: skip
    assert ended(tally(refused="it is damaged"), 1, "shadow")[0] == Status.TAKEN_BACK


def test_a_p95_is_right_to_a_tenth():
    times = Counter(bucket(0.001 * number) for number in range(1, 101))
    assert 0.095 <= p95(times) <= 0.095 * 1.1
    assert p95(Counter()) is None
    assert above(times, 0.08) in range(10, 21)
    assert above(times, 10.0) == 0
