import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from artifacts import files
from artifacts.errors import Busy

HOLD = """
import pathlib, sys, time
from artifacts import files
with files.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold():
    """Another process that holds the lock on a path, until it is ended."""
    holders = []

    def start(path):
        holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_file_is_written_and_replaced_with_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    for content in ("first é", b"second", ""):
        files.write_atomic(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_keeps_the_old_file_and_leaves_no_part(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_take_its_name_leaves_no_part(tmp_path):
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        files.write_atomic(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_is_missing_is_said_to_be(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_atomic(tmp_path / "none" / "a.txt", "text")


def test_readers_see_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "a.txt"
    contents = {bytes([letter]) * 50_000 for letter in b"abc"}
    files.write_atomic(path, b"a" * 50_000)
    done = threading.Event()
    seen = set()

    def read():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for content in contents:
            files.write_atomic(path, content)
    done.set()
    reader.join()
    assert seen
    assert seen <= contents


@pytest.mark.parametrize("value", [{"é": [1, None, "\n"]}, [], "text", {"name": os.fsdecode(b"caf\xe9.jpg")}])
def test_json_comes_back_as_it_was_even_names_that_are_not_utf8(tmp_path, value):
    files.write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_bytes()) == value


def test_json_is_readable_by_a_person(tmp_path):
    files.write_json(tmp_path / "a.json", {"label": "café"})
    assert (tmp_path / "a.json").read_text() == '{\n  "label": "café"\n}\n'


def test_the_digests_are_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert files.sha256(b"abc") == files.sha256_file(tmp_path / "a") == expected


def test_a_tree_can_be_brought_to_the_disk(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x")
    synced = []
    monkeypatch.setattr(files, "fsync", synced.append)
    files.fsync_tree(tmp_path)
    assert synced == [tmp_path / "a" / "b" / "file", tmp_path / "a" / "b", tmp_path / "a", tmp_path]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_lock_is_exclusive_across_processes_and_freed_by_a_kill(tmp_path, hold, kind):
    path = tmp_path / "lock"
    if kind == "folder":
        path.mkdir()
    holder = hold(path)
    with pytest.raises(Busy, match="in use by another process"), files.locked(path, wait=False):
        pass
    with pytest.raises(Busy, match="someone classifies"), files.locked(path, wait=False, busy="someone classifies"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    with files.locked(path):
        entered = True
    assert entered


def test_who_waits_for_a_lock_gets_it_when_it_is_freed(tmp_path, hold):
    holder = hold(tmp_path / "lock")
    got = threading.Event()

    def wait():
        with files.locked(tmp_path / "lock"):
            got.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not got.wait(0.05)
    holder.kill()
    assert got.wait(10)
    waiter.join()


def test_a_lock_is_freed_when_the_body_raises(tmp_path):
    with pytest.raises(ZeroDivisionError), files.locked(tmp_path / "lock"):
        raise ZeroDivisionError
    with files.locked(tmp_path / "lock", wait=False):
        assert (tmp_path / "lock").exists()


def test_a_refused_lock_leaks_no_handle(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with files.locked(tmp_path / "lock"):
        for _ in range(20):
            with pytest.raises(Busy), files.locked(tmp_path / "lock", wait=False):
                pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
