"""What every lane promises: the one in memory and the one between machines pass the same."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import TintypeError
from serving.engine.batching import Only, Ready, Runner
from serving.engine.engine import Engine
from serving.errors import DeadlineExceeded, EngineFailed, QueueFull, TooLarge
from serving.lanes.memory import Crew, MemoryLane
from serving.lanes.redis import link
from serving.lanes.redis.mailbox import Mailbox, RedisLane
from serving.lanes.redis.puller import Puller
from serving.telemetry.stats import EngineStats

FAR = 30.0


class RedisEnds:
    """Both ends of a Redis lane in one process, with an engine, as the memory lane has them."""

    def __init__(self, server, run, best, depth, threads):
        manifest = {"name": "tones", "version": 1, "sha256": "0" * 64, "variants": {"fp32": {"best_batch": best}}}
        shape = {"input": {"height": 2, "width": 2, "channels": 3}}
        stats = EngineStats()
        self.client = link.connect(server.url_of("worker"))
        puller = Puller(self.client, "worker", stats, lambda: "")
        runner = Runner(Only(Ready("tones@1", "fp32", best, run)), stats)
        self.engine = Engine(puller, runner, threads)
        self.mailbox = Mailbox(link.connect(server.url_of("api")), depth)
        self.predict = RedisLane(self.mailbox, Bundle(Path("/nowhere"), {**manifest, **shape})).predict
        until = time.monotonic() + FAR
        while not self.mailbox.workers:
            assert time.monotonic() < until
            time.sleep(0.01)

    @property
    def waiting(self):
        return int(self.client.get(link.WAITING) or 0)

    def close(self):
        self.engine.close()
        self.mailbox.close()


@pytest.fixture(params=["memory", "redis"])
def start(request):
    """Start a lane with an engine behind it; it is closed afterwards."""
    made = []

    def lane(runtime, depth=64, best=4, threads=1):
        if request.param == "memory":
            runner = Runner(Only(Ready("tones@1", "fp32", best, runtime.run)), EngineStats())
            made.append(MemoryLane(runner.run, best, depth, Crew(1, threads - 1)))
        else:
            made.append(RedisEnds(request.getfixturevalue("redis_server"), runtime.run, best, depth, threads))
        return made[-1]

    yield lane
    for each in made:
        each.close()


class Gated:
    """A runtime that waits until it is let go."""

    def __init__(self, runtime):
        self._runtime = runtime
        self.ran = []
        self.entered, self.gate = threading.Event(), threading.Event()

    def run(self, pixels):
        self.entered.set()
        assert self.gate.wait(FAR)
        self.ran.extend(pixels[:, 0, 0, 0].tolist())
        return self._runtime.run(pixels)


@pytest.fixture
def gated(brightness):
    runtime = Gated(brightness)
    yield runtime
    runtime.gate.set()


@pytest.fixture
def put(gated, eventually):
    """Leave pictures in a lane whose engine is busy, without waiting for their answer."""

    def left(lane, *values, seconds=FAR):
        def ask():
            with suppress(TintypeError):
                lane.predict(tones(*values), time.monotonic() + seconds)

        before, busy = lane.waiting, gated.entered.is_set()
        threading.Thread(target=ask, daemon=True).start()
        if not busy:
            assert gated.entered.wait(FAR)
            eventually(lambda: lane.waiting == 0)
        else:
            eventually(lambda: lane.waiting == before + len(values))

    return left


def tones(*values):
    """Pictures, each of one tone, so that an answer tells whose it is."""
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8)


def soon():
    return time.monotonic() + FAR


def seen(answer):
    """The tones that the stand-in runtime saw."""
    return np.rint(answer.probabilities[:, 1] * 255).astype(int).tolist()


class Broken:
    """A runtime that fails on black pictures."""

    def __init__(self, runtime):
        self._runtime = runtime

    def run(self, pixels):
        if (pixels == 0).all(axis=(1, 2, 3)).any():
            raise RuntimeError("black")
        return self._runtime.run(pixels)


def test_one_picture_gets_its_row(start, brightness):
    answer = start(brightness).predict(tones(200), soon())
    assert answer.probabilities.shape == (1, 2)
    assert answer.probabilities.dtype == np.float32
    assert (answer.variant, answer.batch) == ("fp32", 1)
    assert answer.wait >= 0
    assert answer.infer > 0
    assert seen(answer) == [200]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [2, 4, 5, 31, 32])
def test_many_pictures_get_their_rows_in_order(start, brightness, count, threads):
    lane = start(brightness, threads=threads)
    for _ in range(5):
        assert seen(lane.predict(tones(*range(count)), soon())) == list(range(count))


def test_rows_are_in_order_when_the_first_piece_is_answered_last(start, brightness):
    last_one_runs = threading.Event()

    class FirstLast:
        def run(self, pixels):
            if pixels.max() == 11:
                last_one_runs.set()
            elif pixels.min() == 0:
                assert last_one_runs.wait(FAR)
            return brightness.run(pixels)

    lane = start(FirstLast(), threads=2)
    assert seen(lane.predict(tones(*range(12)), soon())) == list(range(12))


def test_nobody_waits_beyond_the_deadline(start, gated, put):
    lane = start(gated)
    put(lane, 9)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="no answer within the deadline"):
        lane.predict(tones(1), began + 0.05)
    assert 0.05 <= time.monotonic() - began < FAR / 2


def test_what_has_expired_is_never_run(start, gated, put):
    lane = start(gated)
    put(lane, 9)
    put(lane, 1, seconds=0.2)
    put(lane, 2, 3, 4, 5, 6, seconds=0.2)
    time.sleep(0.2)
    gated.gate.set()
    assert seen(lane.predict(tones(7), soon())) == [7]
    assert gated.ran == [9, 7]


def test_a_full_lane_refuses_and_recovers(start, gated, put, eventually):
    lane = start(gated, depth=4)
    put(lane, 9)
    put(lane, 1, 2, 3)
    with pytest.raises(QueueFull, match="3 pictures wait already, of at most 4"):
        lane.predict(tones(4, 5), soon())
    put(lane, 4)
    with pytest.raises(QueueFull, match="4 pictures wait already, of at most 4; try again soon"):
        lane.predict(tones(5), soon())
    gated.gate.set()
    eventually(lambda: lane.waiting == 0)
    for _ in range(10):
        assert seen(lane.predict(tones(6), soon())) == [6]


def test_a_hundred_requests_that_never_fit_take_no_place(start, brightness):
    lane = start(brightness, depth=4, best=2)
    for _ in range(100):
        with pytest.raises(TooLarge, match="5 pictures never fit into a queue of 4"):
            lane.predict(tones(*range(5)), soon())
        assert seen(lane.predict(tones(*range(4)), soon())) == [0, 1, 2, 3]


def test_a_failing_runtime_fails_its_requests_and_the_engine_goes_on(start, brightness, caplog):
    lane = start(Broken(brightness))
    for _ in range(3):
        with caplog.at_level(logging.ERROR), pytest.raises(EngineFailed, match="the log says why"):
            lane.predict(tones(0), soon())
        assert seen(lane.predict(tones(5, 6), soon())) == [5, 6]
    assert [record.exc_info[1].args for record in caplog.records] == [("black",)] * 3


def test_one_failed_piece_fails_its_whole_request(start, brightness, caplog):
    lane = start(Broken(brightness))
    with caplog.at_level(logging.CRITICAL), pytest.raises(EngineFailed):
        lane.predict(tones(*range(9, -1, -1)), soon())


def test_each_of_many_clients_gets_its_own_answer(start, brightness):
    lane = start(brightness, depth=1024, threads=2)

    def client(number):
        random = np.random.default_rng(number)
        for _ in range(25):
            values = random.integers(256, size=random.integers(1, 12)).tolist()
            assert seen(lane.predict(tones(*values), soon())) == values
        return number

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(client, range(16))) == list(range(16))
