import multiprocessing

import pytest

from artifacts.census import Look
from serving.records import Record
from serving.telemetry.snapshots import Snapshots
from serving.telemetry.windows import SLICES, Windows

LOOK = Look("7", 0.95, 100.0, 1024)


class Clock:
    """Time that passes when it is told to."""

    now = 1200.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("serving.telemetry.windows.time", clock)
    return clock


def record(count=1, model="digits", version=1, status=200):
    return Record("id", 0, 0, status=status, model=model, version=version, looks=[LOOK] * count)


def pictures(windows):
    return {version: census.pictures for version, census in windows.everyones().items()}


def test_what_was_looked_at_is_counted_by_version(clock):
    windows = Windows(60)
    windows.add([record(3), record(), record(2, version=2), record(4, model="cats"), record(0)])
    assert pictures(windows) == {("digits", 1): 4, ("digits", 2): 2, ("cats", 1): 4}
    assert windows.everyones()["digits", 1].to_json() == {
        "label": {"7": 4}, "confidence": {"0.9": 4}, "brightness": {"96": 4}, "size": {"32": 4},
    }  # fmt: skip


def test_what_was_not_answered_is_not_counted(clock):
    windows = Windows(60)
    windows.add([record(status=503), record(status=422)])
    assert pictures(windows) == {}


def test_what_is_older_than_the_window_is_forgotten(clock):
    windows = Windows(60)
    for _ in range(SLICES):
        windows.add([record()])
        assert pictures(windows)["digits", 1] <= SLICES
        clock.now += 60 / SLICES
    assert pictures(windows)["digits", 1] == SLICES - 1
    clock.now += 30
    assert 0 < pictures(windows)["digits", 1] < SLICES
    clock.now += 60
    assert pictures(windows) == {}


def _publish(folder, published, over):
    windows = Windows(3600, Snapshots(folder, total=None))
    windows.add([record(5), record(1, version=2)])
    windows.publish()
    published.set()
    over.wait(60)


def test_it_is_summed_over_the_processes_that_live(tmp_path, eventually):
    fork = multiprocessing.get_context("fork")
    published, over = fork.Event(), fork.Event()
    other = fork.Process(target=_publish, args=(tmp_path, published, over))
    windows = Windows(3600, Snapshots(tmp_path, total=None))
    windows.add([record(2)])
    other.start()
    assert published.wait(60)
    assert pictures(windows) == {("digits", 1): 7, ("digits", 2): 1}
    over.set()
    other.join()
    assert pictures(windows) == {("digits", 1): 2}
    windows.publish()
    assert len(list(tmp_path.iterdir())) == 2
    Windows(3600, Snapshots(tmp_path, total=None))
    assert len(list(tmp_path.iterdir())) == 1, "the file of the dead is removed when a process starts"
