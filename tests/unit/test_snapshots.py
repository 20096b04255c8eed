import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry import snapshots
from serving.telemetry.exposition import State, exposition, merged
from serving.telemetry.snapshots import GONE, Snapshots, shared_folder
from serving.telemetry.stats import EngineStats
from tests.real import ROOT

CLEAN = multiprocessing.get_context("forkserver")  # forks of a process without threads, unlike pytest's
CLEAN.set_forkserver_preload(["serving.telemetry.sink"])


def text_of(expired):
    stats = EngineStats()
    stats.expired = expired
    return exposition(None, stats, State(workers=1))


def value(text, name):
    return sum(
        each.value for family in text_string_to_metric_families(text) for each in family.samples if each.name == name
    )


def told(own):
    """(counted, living) by the files of all others."""
    text = merged(own.others())
    return value(text, "tintype_expired_total"), value(text, "tintype_workers")


def live(folder, expired, published):
    """Publish, and go on living."""
    Snapshots(folder).publish(text_of(expired))
    published.set()
    signal.pause()


def publish_one(folder):
    Snapshots(Path(folder)).publish(text_of(1))


def come_and_go(folder):
    for _ in range(15):
        child = multiprocessing.get_context("fork").Process(target=publish_one, args=(folder,))
        child.start()
        child.join()


def serve(root, paths):
    """Hold a folder in `root`, as a server does."""
    pytest.MonkeyPatch().setattr(snapshots, "_MEMORY", root)
    with shared_folder() as path:
        paths.put((os.getpid(), path))
        signal.pause()


@pytest.fixture
def folder():
    with shared_folder() as path:
        yield path


@pytest.fixture
def spawn(folder):
    """Start a process that publishes `expired` requests and goes on living."""
    started = []

    def start(expired):
        published = CLEAN.Event()
        process = CLEAN.Process(target=live, args=(folder, expired, published))
        process.start()
        started.append(process)
        assert published.wait(10)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def kill(process):
    process.kill()
    process.join()


def test_processes_find_what_the_others_published(folder, spawn):
    own = Snapshots(folder)
    own.publish(text_of(100))
    assert own.others() == {}
    spawn(1)
    spawn(10)
    assert told(own) == (11, 2)


def test_a_process_replaces_what_it_published(folder, spawn):
    own = Snapshots(folder)
    own.publish(text_of(1))
    own.publish(text_of(2))
    assert len(list(folder.iterdir())) == 2  # and the owner's lock


def test_the_counts_of_the_dead_stay_and_they_hold_nothing(folder, spawn):
    own = Snapshots(folder)
    first, second = spawn(1), spawn(10)
    kill(first)
    assert told(own) == (11, 1)
    kill(second)
    assert told(own) == (11, 0)


def test_a_process_that_ended_and_is_still_remembered_by_its_parent_is_dead(folder):
    own = Snapshots(folder)
    code = "import sys; from tests.unit.test_snapshots import publish_one; publish_one(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", code, folder], cwd=ROOT)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    assert told(own) == (1, 0)
    assert process.wait() == 0


def test_a_process_that_was_stopped_is_alive(folder, spawn, eventually):
    own = Snapshots(folder)
    process = spawn(1)
    os.kill(process.pid, signal.SIGSTOP)
    eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    assert told(own) == (1, 1)


def test_a_number_that_is_given_again_does_not_wake_the_dead(folder):
    own = Snapshots(folder)
    (folder / f"{os.getppid()}-1").write_text(text_of(7))
    assert told(own) == (7, 0)


def test_many_dead_become_one_file_and_no_count_is_lost(folder, spawn):
    own = Snapshots(folder)
    for number in range(4):
        kill(spawn(10**number))
    assert told(own) == (1111, 0)
    assert len([path for path in folder.iterdir() if not path.name.startswith(".")]) == 2  # all before, the last
    assert (folder / GONE).exists()
    spawn(10_000)
    assert told(own) == (11_111, 1)


def test_no_count_falls_while_processes_come_and_go(folder):
    own = Snapshots(folder)

    server = CLEAN.Process(target=come_and_go, args=(folder,))
    server.start()
    seen = []
    while server.is_alive():
        seen.append(told(own)[0])
    assert seen == sorted(seen)
    assert told(own)[0] == 15


def test_the_folder_is_gone_at_the_end_and_nobody_else_reads_it():
    with shared_folder() as path:
        Snapshots(path).publish(text_of(1))
        assert path.stat().st_mode & 0o077 == 0
    assert not path.exists()


def test_what_a_killed_server_left_is_removed_and_what_a_living_one_has_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "_MEMORY", tmp_path)

    paths = CLEAN.SimpleQueue()
    servers = [CLEAN.Process(target=serve, args=(tmp_path, paths)) for _ in range(2)]
    for server in servers:
        server.start()
    held = dict([paths.get(), paths.get()])
    kill(servers[0])
    with shared_folder():
        assert not held[servers[0].pid].exists()
        assert held[servers[1].pid].exists()
    kill(servers[1])


def test_without_shared_memory_the_folder_is_a_temporary_one(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "_MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with shared_folder() as path:
        assert path.parent == tmp_path
