import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.engine.batching import Only, Ready, Runner
from serving.errors import DeadlineExceeded, EngineFailed
from serving.lanes.memory import ONE, Crew, MemoryLane
from serving.telemetry.stats import EngineStats

FAR = 30.0
DEPTH = 200


def tone(value, count=1, side=2):
    return np.full((count, side, side, 3), value, np.uint8)


def lane_to(runtime, crew=ONE):
    runner = Runner(Only(Ready("tones@1", "fp32", 4, runtime.run)), EngineStats())
    return MemoryLane(runner.run, 4, DEPTH, crew)


def soon():
    return time.monotonic() + FAR


class Gated:
    """A runtime whose first batch runs until the gate opens; it remembers the batches."""

    def __init__(self, runtime):
        self._runtime = runtime
        self.batches = []
        self.entered, self.gate = threading.Event(), threading.Event()

    def run(self, pixels):
        self.batches.append(pixels[:, 0, 0, 0].tolist())
        self.entered.set()
        assert self.gate.wait(FAR)
        return self._runtime.run(pixels)


@pytest.fixture
def gated(brightness):
    runtime = Gated(brightness)
    yield runtime
    runtime.gate.set()


@pytest.fixture(params=[Crew(callers=1, helpers=0), Crew(callers=0, helpers=1)], ids=["callers", "helpers"])
def lane(gated, request):
    """Whoever runs the batches, they are the same."""
    made = lane_to(gated, request.param)
    yield made
    gated.gate.set()
    made.close()


@pytest.fixture
def clients():
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture
def pile_up(lane, gated, clients, eventually):
    """While a batch runs, let requests wait, in this order; return their futures."""

    def piled(*requests):
        futures = [clients.submit(lane.predict, tone(255), soon())]
        assert gated.entered.wait(FAR)
        for pixels in requests:
            before = lane.waiting
            futures.append(clients.submit(lane.predict, pixels, soon()))
            eventually(lambda: lane.waiting > before)  # noqa: B023 - called within this turn of the loop
        return futures

    return piled


def tones_of(answer):
    return np.rint(answer.probabilities[:, 1] * 255).astype(int).tolist()


def test_a_lone_request_runs_at_once(lane, gated, clients):
    answer = clients.submit(lane.predict, tone(9), soon())
    assert gated.entered.wait(FAR)
    assert gated.batches == [[9]]
    gated.gate.set()
    assert tones_of(answer.result(FAR)) == [9]


def test_while_one_batch_runs_the_next_gathers(gated, pile_up):
    futures = pile_up(tone(1), tone(2), tone(3))
    assert gated.batches == [[255]]
    gated.gate.set()
    assert [tones_of(each.result(FAR)) for each in futures] == [[255], [1], [2], [3]]
    assert gated.batches == [[255], [1, 2, 3]]


def test_a_batch_of_single_pictures_never_exceeds_the_best(gated, pile_up):
    futures = pile_up(*map(tone, range(1, 11)))
    gated.gate.set()
    assert [tones_of(each.result(FAR)) for each in futures] == [[255], *([tone] for tone in range(1, 11))]
    assert [len(batch) for batch in gated.batches] == [1, 4, 4, 2]


def test_a_batch_of_pieces_ends_with_the_piece_that_fills_it(gated, pile_up):
    futures = pile_up(tone(1, 3), tone(2, 6), tone(3), tone(4, 9))
    gated.gate.set()
    expected = [[255], [1] * 3, [2] * 6, [3], [4] * 9]
    assert [tones_of(each.result(FAR)) for each in futures] == expected
    assert [len(batch) for batch in gated.batches] == [1, 7, 7, 4, 1]


def test_the_pieces_of_one_request_run_on_several_threads_at_once(brightness):
    together = threading.Barrier(2, timeout=FAR)

    class Meeting:
        def run(self, pixels):
            together.wait()
            return brightness.run(pixels)

    for crew in (Crew(callers=1, helpers=1), Crew(callers=0, helpers=2)):
        lane = lane_to(Meeting(), crew)
        assert tones_of(lane.predict(np.concatenate([tone(1, 4), tone(2, 4)]), soon())) == [1] * 4 + [2] * 4
        lane.close()


def test_a_client_that_gave_up_costs_no_inference(lane, gated, pile_up, clients):
    futures = pile_up()
    with pytest.raises(DeadlineExceeded):
        lane.predict(tone(77), time.monotonic() + 0.01)
    last = clients.submit(lane.predict, tone(5), soon())
    gated.gate.set()
    assert [tones_of(each.result(FAR)) for each in (*futures, last)] == [[255], [5]]
    assert 77 not in [value for batch in gated.batches for value in batch]


def test_a_batch_that_cannot_be_put_together_fails_and_the_engine_goes_on(lane, gated, pile_up, caplog):
    _, narrow, wide = pile_up(tone(1), tone(2, side=3))
    with caplog.at_level(logging.CRITICAL):
        gated.gate.set()
        for each in (narrow, wide):
            with pytest.raises(EngineFailed):
                each.result(FAR)
    assert tones_of(lane.predict(tone(6), time.monotonic() + 5)) == [6]


def test_close_ends_the_threads_and_returns(brightness):
    before = threading.active_count()
    lane = lane_to(brightness, Crew(callers=0, helpers=3))
    assert threading.active_count() == before + 3
    lane.close()
    assert threading.active_count() == before


def test_a_lone_request_never_changes_threads(brightness):
    threads = []

    class Noting:
        def run(self, pixels):
            threads.append(threading.current_thread())
            return brightness.run(pixels)

    lane = lane_to(Noting())
    for _ in range(5):
        lane.predict(tone(1, 9), soon())
    assert set(threads) == {threading.current_thread()}


def test_a_long_batch_keeps_nobody_beyond_the_deadline_where_helpers_run_it(gated):
    lane = lane_to(gated, Crew(callers=0, helpers=1))
    with pytest.raises(DeadlineExceeded):
        lane.predict(tone(1), time.monotonic() + 0.05)
    gated.gate.set()
    lane.close()


def test_a_place_that_is_given_to_one_who_just_left_goes_on(brightness):
    """Deadlines that end while places change hands must never cost a place: the lane would stand still."""
    lane = lane_to(brightness)

    def client(number):
        random = np.random.default_rng(number)
        answered = 0
        for _ in range(200):
            try:
                lane.predict(tone(1), time.monotonic() + random.exponential(0.0005))
            except DeadlineExceeded:
                continue
            answered += 1
        return answered

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(client, range(8))) > 0
    assert tones_of(lane.predict(tone(7), soon())) == [7]
    assert lane.waiting == 0
    lane.close()


def test_close_answers_what_waits(lane, gated, pile_up):
    futures = pile_up(*(tone(value, 2) for value in range(100, 111)))
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(lane.close)
        gated.gate.set()
        closing.result(FAR)
    assert [tones_of(each.result(FAR)) for each in futures] == [[255], *([value] * 2 for value in range(100, 111))]


def test_every_failed_request_has_an_error_of_its_own(caplog):
    class Failing:
        def run(self, pixels):
            raise ValueError(pixels.shape)

    lane = lane_to(Failing())
    errors = []
    for _ in range(2):
        with caplog.at_level(logging.CRITICAL), pytest.raises(EngineFailed) as raised:
            lane.predict(tone(1), soon())
        errors.append(raised.value)
    assert errors[0] is not errors[1]
