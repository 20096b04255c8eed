import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.jobs import leases
from serving.jobs.leases import Leases, make_folder


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "leases")
    return tmp_path / "leases"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.01)


def age(folder, name, seconds=leases.LEASE + 1):
    now = time.time()
    os.utime(folder / name, (now - seconds, now - seconds))


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != leases.CLOCK)


def test_one_of_many_at_once_gets_a_lease(folder):
    barrier = threading.Barrier(8)

    def claim():
        barrier.wait()
        return Leases(folder).claim("00000001")

    with ThreadPoolExecutor(8) as pool:
        held = [each.result() for each in [pool.submit(claim) for _ in range(8)]]
    (one,) = [lease for lease in held if lease]
    with one:
        assert Leases(folder).claim("00000001") is None
        assert Leases(folder).claim("00000002") is not None
    assert names(folder) == ["00000002.1"]


def test_a_lease_that_was_given_back_can_be_had_again_and_counts_as_no_death(folder):
    for _ in range(2):
        with Leases(folder).claim("list") as lease:
            assert lease.attempt == 1
    assert names(folder) == []


def test_a_lease_of_one_who_died_can_be_had_when_it_is_old_and_counts_as_a_death(folder):
    (folder / "list.1").touch()
    assert Leases(folder).claim("list") is None
    age(folder, "list.1")
    with Leases(folder).claim("list") as lease:
        assert lease.attempt == 2
    age(folder, "list.1")
    assert names(folder) == ["list.1"]


def test_a_lease_that_was_left_as_dead_needs_not_be_waited_for(folder):
    for attempt in (1, 2, 3):
        with Leases(folder).claim("list") as lease:
            assert lease.attempt == attempt
            lease.die()
    Leases(folder).note("list").write_text("x")
    Leases(folder).clear("list")
    assert names(folder) == []


def test_a_holder_gives_signs_of_life_and_says_how_far_it_is(folder, quick, eventually):
    with Leases(folder).claim("00000003") as lease:
        age(folder, "00000003.1")
        lease.progress(70)
        eventually(lambda: Leases(folder).claims()["00000003"] == (1, True, 70))
    assert Leases(folder).claims() == {}


def test_a_holder_that_hangs_gives_no_more_signs(folder, quick, monkeypatch, eventually):
    monkeypatch.setattr(leases, "STALL", 0.1)
    with Leases(folder).claim("00000003"):
        time.sleep(0.2)
        age(folder, "00000003.1")
        time.sleep(0.1)
        assert not Leases(folder).claims()["00000003"].live


def test_a_holder_is_told_that_another_has_it_or_that_nobody_wants_it(folder, quick, eventually):
    with Leases(folder).claim("00000003") as lease:
        (folder / "00000003.2").touch()
        eventually(lease.stopped.is_set)
    with Leases(folder).claim("00000004", wanted=lambda: False) as lease:
        eventually(lease.stopped.is_set)


def test_the_clock_is_that_of_the_file_system(folder, monkeypatch):
    (folder / "list.1").touch()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert Leases(folder).claims()["list"].live


def test_a_full_disk_stops_no_sign_of_life(folder, quick, monkeypatch, eventually):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with Leases(folder).claim("00000003"):
        age(folder, "00000003.1")
        eventually(lambda: Leases(folder).claims()["00000003"].live)
