"""`kill -9` at random moments of exports, two of which run at a time: no half version, and no number twice."""

import os
import random
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from artifacts.bundle import verify
from artifacts.store import Store
from tests import runs
from tests.real import Home
from training import models

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("KILLS_SEED", str(time.time_ns() % 1_000_000)))
AT_ONCE = 2
PUBLISHING = 4  # of this many kills, one falls into the publishing, which takes a hundredth of the time
PUBLISHING_SECONDS = 0.05
KEPT = 3  # versions; the newest ones are deleted, and yet their numbers do not come again
SHAPE, CLASSES = (16, 20, 3), 4
COMMAND = ("export", "latest", "--precision", "fp32,int8")


@pytest.fixture
def home(tmp_path):
    model = models.build("crosses-noughts", SHAPE, CLASSES, seed=0)
    training = runs.drawn(SHAPE, CLASSES, 32, seed=1)
    runs.settle(model, training)
    runs.write(tmp_path / "runs" / "tiny", model, runs.drawn(SHAPE, CLASSES, 40, seed=2), training, name="tiny")
    return Home(tmp_path)


class Watched:
    """A store in which nothing may ever be seen but whole versions, each with a number of its own."""

    def __init__(self, root):
        self.store = Store(root)
        self.seen = {}
        self._lock = threading.Lock()

    def check(self):
        """Look at every version, and delete the newest when there are many."""
        with self._lock:
            numbers = self.store.versions("tiny")
            for number in numbers:
                version = verify(self.store.path("tiny", number))
                assert (version.name, version.version) == ("tiny", number)
                assert self.seen.setdefault(number, version.sha256) == version.sha256, f"{number} was given twice"
            if len(numbers) > KEPT:
                shutil.rmtree(self.store.path("tiny", numbers[-1]))

    def unfinished(self):
        return list(self.store.root.glob("tiny/.tmp-*"))


def test_kills_at_random_moments_of_exports_never_show_a_half_version(home, capsys):
    with capsys.disabled():
        sys.stdout.write(f"\n{KILLS} kills, KILLS_SEED={SEED}\n")
    watched = Watched(home.path / "models")
    seconds = _unbroken(home)
    watched.check()
    assert len(watched.seen) == AT_ONCE
    chosen = random.Random(SEED)
    moments = [chosen.uniform(number, number + 1) * seconds / KILLS for number in range(KILLS)]
    moments = [None if number % PUBLISHING == 0 else moment for number, moment in enumerate(moments)]
    chosen.shuffle(moments)
    waits = [chosen.uniform(0, PUBLISHING_SECONDS) for _ in moments]
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        killed = list(lanes.map(lambda moment, wait: _kill(home, watched, moment, wait), moments, waits))
    with capsys.disabled():
        sys.stdout.write(f"{sum(killed)} of {KILLS} were still exporting; {len(watched.seen)} versions came of it\n")
    assert sum(killed) >= KILLS // 2
    highest = max(watched.seen)
    assert home.json(*COMMAND)["version"] > highest
    assert home.json("deploy", "tiny")["aliases"]["production"] > highest
    watched.check()
    assert not watched.unfinished()
    assert not list(watched.store.root.rglob(".*.part"))


def _unbroken(home):
    """Seconds of an export beside another."""
    started = time.monotonic()
    processes = [home.start(*COMMAND) for _ in range(AT_ONCE)]
    for process in processes:
        errors = process.stderr.read().decode()
        assert process.wait() == 0, errors
        process.stderr.close()
    return time.monotonic() - started


def _kill(home, watched, moment, wait):
    """Kill an export `moment` seconds after its start, or, without one, `wait` seconds after the seal of a version."""
    before = set(watched.store.root.glob("tiny/.tmp-*/manifest.json"))
    process = home.start(*COMMAND)
    try:
        if moment is None:
            while process.poll() is None and not set(watched.store.root.glob("tiny/.tmp-*/manifest.json")) - before:
                time.sleep(0.001)
            time.sleep(wait)
        else:
            time.sleep(moment)
        alive = process.poll() is None
        process.kill()
    finally:
        process.wait()
        process.stderr.close()
    watched.check()
    assert len(watched.unfinished()) <= 2 * AT_ONCE  # of those that run, and of those that died since another began
    return alive
