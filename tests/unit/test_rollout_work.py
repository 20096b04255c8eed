"""Who gets a version that is rolled out, and how it is compared, on real lanes."""

import time

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.pixels import encode_png
from artifacts.rollouts import Order, Rollout
from serving.engine.batching import Only, Ready, Runner
from serving.errors import EngineFailed, NoModel
from serving.lanes.memory import MemoryLane
from serving.rollouts.tally import summed
from serving.rollouts.work import WAITING, Work
from serving.telemetry.stats import EngineStats

PICTURE = encode_png(np.full((8, 8, 3), 200, np.uint8))


class Asked:
    """A version that can be asked, with a lane of its own."""

    labels = ("dark", "light")
    shape = (8, 8, 3)

    def __init__(self, manifest, run, labels=labels):
        self.bundle = Bundle(None, {**manifest, "name": "tones", "version": 1, "sha256": "0" * 64})
        self.labels = list(labels)
        self.lane = MemoryLane(Runner(Only(Ready("tones@1", "fp32", 4, run)), EngineStats()).run, best=4, depth=16)


def broken(_):
    raise EngineFailed("it is broken")


def away(_):
    raise NoModel("no worker is alive")


def slow(run):
    def sleeping(pixels):
        time.sleep(0.05)
        return run(pixels)

    return sleeping


@pytest.fixture
def work(tmp_path, manifest, brightness):
    """`work(candidate, production)`: a rollout of two versions, given what they run."""
    made = []

    def begun(candidate=brightness.run, production=brightness.run, labels=Asked.labels, kind="canary"):
        order = Order(kind, 0.25, 600.0)
        rollout = Rollout("20261122", "tones", 2, 1, order, "anna", "", "2026-11-22T00:00:00Z")
        made.append(Work(rollout, tmp_path, 1_000_000, depth=16))
        made[-1].candidate, made[-1].production = Asked(manifest, candidate, labels), Asked(manifest, production)
        return made[-1]

    yield begun
    for each in made:
        each.close()


def test_pictures_are_put_to_both_and_their_labels_compared(work, eventually, tmp_path):
    same = work()
    for _ in range(3):
        same.offer(PICTURE)
    eventually(lambda: same.counted.tally.compared == 3)
    assert same.counted.tally.disagreed == 0
    other = work(labels=("light", "dark"))
    other.offer(PICTURE)
    eventually(lambda: other.counted.tally.disagreed == 1)
    assert dict(other.counted.tally.pairs) == {"light → dark": 1}
    same.counted.publish()
    other.counted.publish()
    assert (summed(tmp_path).compared, summed(tmp_path).disagreed) == (4, 1)


def test_the_time_of_each_is_its_own(work, eventually, brightness):
    at_work = work(candidate=slow(brightness.run))
    for _ in range(2):
        at_work.offer(PICTURE)
    eventually(lambda: at_work.counted.tally.compared == 2, 20)
    told = at_work.counted.tally.told()
    assert told["p95_ms"] > 50 > told["production_p95_ms"]


def test_a_candidate_that_breaks_is_counted_and_production_is_not_in_its_way(work, eventually):
    at_work = work(candidate=broken)
    at_work.offer(PICTURE)
    eventually(lambda: at_work.counted.tally.errors == 1)
    assert at_work.counted.tally.compared == 0


def test_without_production_nothing_is_held_against_the_candidate(work, eventually, manifest, brightness):
    at_work = work(candidate=away, production=away)
    at_work.offer(PICTURE)
    at_work.offer(b"no picture")
    eventually(lambda: not at_work._pictures)  # noqa: SLF001 - nothing else shows that they were taken
    at_work.candidate, at_work.production = Asked(manifest, brightness.run), Asked(manifest, brightness.run)
    at_work.offer(PICTURE)
    eventually(lambda: at_work.counted.tally.compared == 1)  # so those before were looked at
    assert at_work.counted.tally.errors == 0


def test_what_nobody_has_time_for_is_left_out(work):
    at_work = work()
    at_work.candidate = None
    for _ in range(10 * WAITING):
        at_work.offer(PICTURE)
    assert len(at_work._pictures) <= WAITING  # noqa: SLF001 - as above


def test_a_key_is_on_one_side_for_good_and_keys_divide_as_the_share_says(work):
    at_work = work()
    chosen = {key: at_work.takes(key) for key in map(str, range(4000))}
    assert 0.22 < sum(chosen.values()) / len(chosen) < 0.28
    assert all(at_work.takes(key) == side for key, side in chosen.items())
    by_chance = sum(at_work.takes("") for _ in range(4000)) / 4000
    assert 0.2 < by_chance < 0.3
