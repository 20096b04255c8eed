import multiprocessing
import time

import pytest

from serving.access.limits import Limits
from serving.errors import RateLimited


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("serving.access.limits.time", clock)
    return clock


def taken(limits, tries, number=0):
    """How many of so many requests pass."""
    passed = 0
    for _ in range(tries):
        try:
            limits.take(number)
        except RateLimited:
            continue
        passed += 1
    return passed


def test_no_rate_is_no_limit(clock):
    assert taken(Limits(0, 0), 10_000) == 10_000


@pytest.mark.parametrize(("rate", "burst", "at_once"), [(10, 0, 10), (10, 1, 1), (10, 50, 50), (1, 0, 1)])
def test_a_burst_passes_and_then_the_rate(clock, rate, burst, at_once):
    limits = Limits(rate, burst)
    assert taken(limits, 1000) == at_once
    passed = 0
    for _ in range(100):
        clock.now += 0.1
        passed += taken(limits, 10)
    assert passed == pytest.approx(10 * rate, abs=1)


def test_after_a_pause_the_burst_is_there_again_and_no_more(clock):
    limits = Limits(5, 20)
    assert taken(limits, 100) == 20
    clock.now += 2
    assert taken(limits, 100) == 10
    clock.now += 10_000
    assert taken(limits, 100) == 20


def test_it_says_in_whole_seconds_when_to_come_back(clock):
    limits = Limits(1, 1)
    limits.take(0)
    with pytest.raises(RateLimited) as raised:
        limits.take(0)
    assert raised.value.retry_after == 1
    clock.now += raised.value.retry_after
    limits.take(0)


def test_keys_do_not_use_up_each_others(clock):
    limits = Limits(1, 3)
    assert [taken(limits, 10, number) for number in (0, 1, 65_535)] == [3, 3, 3]


def test_all_processes_of_a_server_count_together():
    limits = Limits(1, 100)  # a second gives one more, and so may a count that is lost
    fork = multiprocessing.get_context("fork")
    counts = fork.SimpleQueue()
    processes = [fork.Process(target=lambda: counts.put(taken(limits, 80))) for _ in range(4)]
    began = time.monotonic()
    for process in processes:
        process.start()
        process.join()
    most = 100 + time.monotonic() - began + 1
    assert 100 <= sum(counts.get() for _ in processes) <= most
