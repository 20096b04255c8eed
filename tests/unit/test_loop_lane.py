import asyncio
import logging
import os
import time

import numpy as np
import pytest

from artifacts.errors import NotAnImage
from serving.board import Board
from serving.engine.batching import Only, Ready, Runner
from serving.errors import DeadlineExceeded, EngineFailed, NoModel, QueueFull
from serving.lanes.loop import LoopLane
from serving.telemetry.stats import EngineStats

FAR = 30.0


def tone(value):
    return lambda: np.full((1, 2, 2, 3), value, np.uint8)


def soon():
    return time.monotonic() + FAR


def seen(answer):
    return np.rint(answer.probabilities[:, 1] * 255).astype(int).tolist()


class Noting:
    """A runtime that remembers its batches."""

    def __init__(self, runtime):
        self._runtime = runtime
        self.batches = []

    def run(self, pixels):
        self.batches.append(pixels[:, 0, 0, 0].tolist())
        return self._runtime.run(pixels)


@pytest.fixture
def runtime(brightness):
    return Noting(brightness)


@pytest.fixture
def lane(runtime):
    return lane_to(runtime.run)


def lane_to(run, depth=100, delay=0.0, board=None, run_alone=None):
    ready = Ready("tones@1", "fp32", 4, run, run_alone=run_alone)
    return LoopLane(Runner(Only(ready), EngineStats()).run, 4, depth, board or Board(1), delay)


async def asked(lane, *values):
    futures = [lane.predict(tone(value), soon(), "id") for value in values]
    return await asyncio.gather(*futures, return_exceptions=True)


def test_a_lone_picture_gets_its_row(lane, runtime):
    (answer,) = asyncio.run(asked(lane, 200))
    assert seen(answer) == [200]
    assert (answer.variant, answer.batch) == ("fp32", 1)
    assert runtime.batches == [[200]]


def test_those_that_wait_together_are_batches_of_the_best_size(lane, runtime):
    answers = asyncio.run(asked(lane, *range(10)))
    assert [seen(each) for each in answers] == [[value] for value in range(10)]
    assert runtime.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_damaged_picture_fails_alone(lane, runtime):
    async def ask():
        def damaged():
            raise NotAnImage("no picture")

        futures = [lane.predict(each, soon(), "id") for each in (tone(1), damaged, tone(3))]
        return await asyncio.gather(*futures, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert (seen(first), seen(third)) == ([1], [3])
    assert isinstance(second, NotAnImage)
    assert runtime.batches == [[1, 3]]


def test_what_has_expired_is_neither_decoded_nor_run(lane, runtime):
    async def ask():
        def never():
            raise AssertionError("it was decoded")

        late = lane.predict(never, time.monotonic() - 1, "id")
        return await asyncio.gather(late, lane.predict(tone(2), soon(), "id"), return_exceptions=True)

    late, other = asyncio.run(ask())
    assert isinstance(late, DeadlineExceeded)
    assert seen(other) == [2]
    assert runtime.batches == [[2]]


def test_a_full_lane_refuses_and_recovers(runtime):
    lane = lane_to(runtime.run, depth=3)

    async def ask():
        waiting = [lane.predict(tone(value), soon(), "id") for value in range(3)]
        assert lane.waiting == 3
        with pytest.raises(QueueFull, match="3 pictures wait already, of at most 3; try again soon"):
            lane.predict(tone(9), soon(), "id")
        await asyncio.gather(*waiting)
        return await lane.predict(tone(4), soon(), "id")

    assert seen(asyncio.run(ask())) == [4]


def test_a_failing_runtime_fails_its_batch_and_the_lane_goes_on(brightness, caplog):
    def run(pixels):
        if pixels.min() == 0:
            raise RuntimeError("black")
        return brightness.run(pixels)

    lane = lane_to(run)
    with caplog.at_level(logging.CRITICAL):
        failed = asyncio.run(asked(lane, 0, 1))
    assert [type(each) for each in failed] == [EngineFailed, EngineFailed]
    assert failed[0] is not failed[1]
    assert [seen(each) for each in asyncio.run(asked(lane, 5))] == [[5]]


def test_a_closed_lane_answers_what_waits_and_refuses_the_rest(lane):
    async def ask():
        waiting = lane.predict(tone(7), soon(), "id")
        lane.close()
        with pytest.raises(NoModel, match="just retired; send the request again"):
            lane.predict(tone(8), soon(), "id")
        return await waiting

    assert seen(asyncio.run(ask())) == [7]


def test_with_a_delay_a_batch_waits_for_more(runtime):
    lane = lane_to(runtime.run, delay=0.2)

    async def ask():
        first = lane.predict(tone(1), soon(), "id")
        await asyncio.sleep(0.02)
        return await asyncio.gather(first, lane.predict(tone(2), soon(), "id"))

    asyncio.run(ask())
    assert runtime.batches == [[1, 2]]


def test_all_cores_are_for_who_is_the_only_one(brightness):
    def alone(pixels):
        return brightness.run(255 - pixels)

    board = Board(2)
    lane = lane_to(brightness.run, board=board, run_alone=alone)
    (lone,) = asyncio.run(asked(lane, 10))
    assert seen(lone) == [245]
    crowd = asyncio.run(asked(lane, *range(8)))
    assert [seen(each) for each in crowd[:4]] == [[value] for value in range(4)]
    other = os.fork()
    if not other:
        board.take(1)
        board.note(busy=True)
        os._exit(0)
    os.waitpid(other, 0)
    (beside_another,) = asyncio.run(asked(lane, 10))
    assert seen(beside_another) == [10]
