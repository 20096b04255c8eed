"""What every lane promises: today there is the one in memory; one between machines must pass the same."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from serving.engine.batching import Engine
from serving.errors import DeadlineExceeded, EngineFailed, QueueFull, TooLarge
from serving.lanes.memory import MemoryLane

LANES = {"memory": MemoryLane}
FAR = 30.0


@pytest.fixture(params=LANES)
def make_lane(request):
    return LANES[request.param]


@pytest.fixture
def start():
    """Start engines on lanes; they are closed afterwards."""
    engines = []

    def started(runtime, lane, best_batch=4, threads=1):
        engines.append(Engine(runtime, lane, best_batch, threads))
        return engines[-1]

    yield started
    for engine in engines:
        engine.close()


def tones(*values):
    """Pictures, each of one tone, so that an answer tells whose it is."""
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8)


def soon():
    return time.monotonic() + FAR


def seen(probabilities):
    """The tones that the stand-in runtime saw."""
    return np.rint(probabilities[:, 1] * 255).astype(int).tolist()


def put(lane, *values):
    """Leave pictures in the lane without waiting for their answer."""
    with pytest.raises(DeadlineExceeded):
        lane.predict(tones(*values), time.monotonic() - 1)


class Broken:
    """A runtime that fails on black pictures."""

    def __init__(self, runtime):
        self._runtime = runtime

    def run(self, pixels):
        if (pixels == 0).all(axis=(1, 2, 3)).any():
            raise RuntimeError("black")
        return self._runtime.run(pixels)


def test_one_picture_gets_its_row(make_lane, start, brightness):
    lane = make_lane(8, 4)
    start(brightness, lane)
    answer = lane.predict(tones(200), soon())
    assert answer.shape == (1, 2)
    assert answer.dtype == np.float32
    assert seen(answer) == [200]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [2, 4, 5, 31, 32])
def test_many_pictures_get_their_rows_in_order(make_lane, start, brightness, count, threads):
    lane = make_lane(64, 4)
    start(brightness, lane, threads=threads)
    for _ in range(5):
        assert seen(lane.predict(tones(*range(count)), soon())) == list(range(count))


def test_rows_are_in_order_when_the_first_piece_is_answered_last(make_lane, start, brightness):
    last_one_runs = threading.Event()

    class FirstLast:
        def run(self, pixels):
            if pixels.max() == 11:
                last_one_runs.set()
            elif pixels.min() == 0:
                assert last_one_runs.wait(FAR)
            return brightness.run(pixels)

    lane = make_lane(64, 4)
    start(FirstLast(), lane, threads=2)
    assert seen(lane.predict(tones(*range(12)), soon())) == list(range(12))


def test_take_gives_what_waits_in_order_up_to_the_limit(make_lane):
    lane = make_lane(64, 4)
    for tone in range(5):
        put(lane, tone)
    assert [int(request.pixels[0, 0, 0, 0]) for request in lane.take(3)] == [0, 1, 2]
    assert [int(request.pixels[0, 0, 0, 0]) for request in lane.take(3)] == [3, 4]


def test_a_request_of_many_is_cut_into_pieces(make_lane):
    lane = make_lane(64, 4)
    put(lane, *range(10))
    assert [len(request.pixels) for request in lane.take(4)] == [4]
    assert [len(request.pixels) for request in lane.take(64)] == [4, 2]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7])
def test_take_never_exceeds_the_limit_by_a_whole_piece(make_lane, limit):
    lane = make_lane(200, 4)
    for _ in range(10):
        put(lane, 1)
        put(lane, 1, 2, 3)
        put(lane, *range(6))
    taken = 0
    while taken < 100:
        pictures = sum(len(request.pixels) for request in lane.take(limit))
        assert 0 < pictures < limit + 4
        taken += pictures
    assert taken == 100


def test_take_waits_until_there_is_work(make_lane):
    lane = make_lane(8, 4)
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(lane.take, 4)
        assert not taking.done()
        put(lane, 9)
        assert [int(request.pixels[0, 0, 0, 0]) for request in taking.result(FAR)] == [9]


def test_nobody_waits_beyond_the_deadline(make_lane):
    lane = make_lane(8, 4)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="no answer within the deadline"):
        lane.predict(tones(1), began + 0.05)
    assert 0.05 <= time.monotonic() - began < 5


def test_what_has_expired_is_answered_so_and_never_run(make_lane, start, brightness):
    ran = []

    class Recording:
        def run(self, pixels):
            ran.extend(pixels[:, 0, 0, 0].tolist())
            return brightness.run(pixels)

    lane = make_lane(64, 4)
    put(lane, 1)
    put(lane, 2, 3, 4, 5, 6)
    start(Recording(), lane)
    assert seen(lane.predict(tones(7), soon())) == [7]
    assert ran == [7]


def test_a_full_lane_refuses_and_recovers(make_lane):
    lane = make_lane(4, 4)
    put(lane, 1, 2, 3)
    with pytest.raises(QueueFull, match="3 pictures wait already, of at most 4"):
        lane.predict(tones(4, 5), soon())
    put(lane, 4)
    with pytest.raises(QueueFull, match="4 pictures wait already, of at most 4; try again soon"):
        lane.predict(tones(5), soon())
    assert sum(len(request.pixels) for request in lane.take(3)) == 3
    put(lane, 6, 7, 8)
    with pytest.raises(QueueFull):
        lane.predict(tones(9), soon())


def test_a_hundred_requests_that_never_fit_take_no_place(make_lane, start, brightness):
    lane = make_lane(4, 2)
    start(brightness, lane)
    for _ in range(100):
        with pytest.raises(TooLarge, match="5 pictures never fit into a queue of 4"):
            lane.predict(tones(*range(5)), soon())
        assert len(lane.predict(tones(*range(4)), soon())) == 4


def test_a_failing_runtime_fails_its_requests_and_the_engine_goes_on(make_lane, start, brightness, caplog):
    lane = make_lane(8, 4)
    start(Broken(brightness), lane)
    for _ in range(3):
        with caplog.at_level(logging.ERROR), pytest.raises(EngineFailed, match="the log says why"):
            lane.predict(tones(0), soon())
        assert seen(lane.predict(tones(5, 6), soon())) == [5, 6]
    assert [record.exc_info[1].args for record in caplog.records] == [("black",)] * 3


def test_one_failed_piece_fails_its_whole_request(make_lane, start, brightness, caplog):
    lane = make_lane(64, 4)
    start(Broken(brightness), lane)
    with caplog.at_level(logging.CRITICAL), pytest.raises(EngineFailed):
        lane.predict(tones(*range(9, -1, -1)), soon())


def test_close_answers_what_waits(make_lane, brightness, eventually):
    class Gated:
        entered, gate = threading.Event(), threading.Event()

        def run(self, pixels):
            self.entered.set()
            assert self.gate.wait(FAR)
            return brightness.run(pixels)

    lane, runtime = make_lane(100, 4), Gated()
    engine = Engine(runtime, lane, 4, 1)
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(lane.predict, tones(1), soon())
        assert runtime.entered.wait(FAR)
        others = [pool.submit(lane.predict, tones(tone, tone), soon()) for tone in range(100, 111)]
        eventually(lambda: lane.waiting == 22)
        closing = pool.submit(engine.close)
        runtime.gate.set()
        closing.result(FAR)
        assert seen(first.result(FAR)) == [1]
        assert [seen(each.result(FAR)) for each in others] == [[tone, tone] for tone in range(100, 111)]


def test_each_of_many_clients_gets_its_own_answer(make_lane, start, brightness):
    lane = make_lane(1024, 4)
    start(brightness, lane, threads=2)

    def client(number):
        random = np.random.default_rng(number)
        for _ in range(25):
            values = random.integers(256, size=random.integers(1, 12)).tolist()
            assert seen(lane.predict(tones(*values), soon())) == values
        return number

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(client, range(16))) == list(range(16))
