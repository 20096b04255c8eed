import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from artifacts.errors import WrongUse
from serving.jobs import inputs, spill, walk
from serving.jobs.inputs import CHUNK, write_listing
from tests.real import read_listing

ODD_NAMES = [
    b"a b.jpg", b'comma,quote".jpg', b"line\nbreak.jpg", b"return\r.jpg", b"tab\t.jpg", b"'single'.jpg",
    b"<script>.jpg", b"back\\slash.jpg", "é日本🐈.jpg".encode(), "e\u0301.jpg".encode(), b"caf\xe9.jpg", b"\xff\xfe",
    b"-rf", b"%2e%2e", b"a", b"=1+1.csv", b"jpg.", b"x" * 255,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def listed(tmp_path, folder):
    """List the folder; return its inputs."""

    def run(skip=None):
        target = tmp_path / "job" / "inputs"
        total = write_listing(folder, target, skip or tmp_path / "job").files
        found = [each for chunk in read_listing(target) for each in chunk.inputs]
        assert len(found) == total
        return found

    return run


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


def problems(found):
    return {each.path: each.problem.partition(":")[0] for each in found}


def test_files_come_depth_first_in_byte_order(folder, listed):
    touch(folder, "b/2", "b/1", "a.jpg", "Z.jpg", "a/x/deep", "a/é", "a/z", "ä", "b.txt", "10", "9")
    assert [each.path for each in listed()] == [
        "10", "9", "Z.jpg", "a/x/deep", "a/z", "a/é", "a.jpg", "b/1", "b/2", "b.txt", "ä",
    ]  # fmt: skip


def test_the_listing_does_not_depend_on_who_lists(folder, tmp_path):
    touch(folder, *(f"{number % 7}/{number}" for number in range(600)))
    for name in ("one", "two"):
        write_listing(folder, tmp_path / name, tmp_path / "job")
    first, second = (list(read_listing(tmp_path / name)) for name in ("one", "two"))
    assert first == second
    assert [len(chunk.inputs) for chunk in first] == [CHUNK, 600 - CHUNK]
    assert [chunk.number for chunk in first] == [0, 1]
    assert len({chunk.part for chunk in first}) == 2


def test_a_change_of_a_file_changes_the_part_of_its_chunk_alone(folder, tmp_path):
    touch(folder, *(f"{number:03d}" for number in range(CHUNK + 1)))
    parts = []
    for content in (b"x", b"xy"):
        (folder / "000").write_bytes(content)
        write_listing(folder, tmp_path / "inputs", tmp_path / "job")
        parts.append([chunk.part for chunk in read_listing(tmp_path / "inputs")])
    assert parts[0][0] != parts[1][0]
    assert parts[0][1] == parts[1][1]


def test_a_shorter_listing_leaves_nothing_of_a_longer_one(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "CHUNK", 2)
    touch(folder, *"abcde")
    assert write_listing(folder, tmp_path / "inputs", tmp_path / "job") == (5, 3, 0)
    for name in "bcde":
        (folder / name).unlink()
    assert write_listing(folder, tmp_path / "inputs", tmp_path / "job") == (1, 1, 0)
    assert [[each.path for each in chunk.inputs] for chunk in read_listing(tmp_path / "inputs")] == [["a"]]


def test_every_file_is_an_input_and_hidden_ones_are_not(folder, listed):
    touch(folder, "a.jpg", "notes.txt", "empty", ".hidden", ".git/config", "b/.DS_Store", "b/c")
    assert problems(listed()) == {"a.jpg": "", "b/c": "", "empty": "", "notes.txt": ""}


def test_the_jobs_own_directory_is_left_out(folder, listed):
    touch(folder, "a", "job/inputs/00000000.json", "job/parts/x", "jobs/b")
    assert problems(listed(folder / "job")) == {"a": "", "jobs/b": ""}
    (folder.parent / "link").symlink_to(folder / "job")
    assert problems(listed(folder.parent / "link")) == {"a": "", "jobs/b": ""}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_of_any_bytes_is_listed_and_found_again(folder, listed, name):
    path = os.fsencode(folder) + b"/" + name
    try:
        with open(path, "wb") as file:  # noqa: PTH123 - bytes, not text
            file.write(b"content")
    except OSError:
        pytest.skip("this file system has no such names")
    (found,) = listed()
    assert os.fsencode(found.path) == name
    assert (found.size, found.problem) == (7, "")
    assert (folder / found.path).read_bytes() == b"content"


def test_size_and_time_of_change_are_noted(folder, listed):
    touch(folder, "a")
    os.utime(folder / "a", ns=(1, 1_234_567_890_123_456_789))
    (found,) = listed()
    assert (found.size, found.changed) == (1, 1_234_567_890_123_456_789)


@pytest.mark.parametrize(("run", "fan_in"), [(1, 2), (2, 2), (3, 100), (9, 2), (10, 2)])
def test_names_beyond_memory_are_sorted_on_the_disk(folder, listed, tmp_path, monkeypatch, run, fan_in):
    (tmp_path / "job").mkdir()
    touch(folder, "b/2", "b/1", "a.jpg", "a/x/deep", "a/z", "b.txt", "10", "9", "c", "d", "e", "f", "g")
    (folder / "link").symlink_to("/etc/hostname")
    monkeypatch.setattr(spill, "BLOCK", 5)
    expected = listed()
    monkeypatch.setattr(spill, "RUN", run)
    monkeypatch.setattr(spill, "FAN_IN", fan_in)
    assert listed() == expected
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["inputs"]


def test_whoever_reads_a_large_folder_is_heard_of_before_its_first_file_is_known(folder, monkeypatch):
    touch(folder, *"abcdefghij")
    monkeypatch.setattr(walk, "LOOK", 2)
    looks = []
    each = walk.walk(folder, folder / "job", None, walk.Hidden(lambda: looks.append(1)))
    next(each)
    assert len(looks) == 5 + 1
    list(each)
    assert len(looks) == 5 + 5

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        next(walk.walk(folder, folder / "job", None, walk.Hidden(stop)))


def test_a_disk_without_room_for_the_names_is_not_the_folders_fault(folder, listed, monkeypatch):
    touch(folder, "a", "b")
    monkeypatch.setattr(spill, "RUN", 1)
    with pytest.raises(FileNotFoundError):
        listed(folder.parent / "no" / "room")


def test_links_are_read_inside_the_folder_and_refused_outside(folder, listed):
    touch(folder, "a/real", "b/x")
    touch(folder.parent, "secret", "pictures-2/other")
    (folder / "inside").symlink_to("a/real")
    (folder / "absolute").symlink_to(folder / "a" / "real")
    (folder / "chain").symlink_to("inside")
    (folder / "outside").symlink_to("../secret")
    (folder / "neighbour").symlink_to("../pictures-2/other")
    (folder / "through").symlink_to("b/../../secret")
    (folder / "hop").symlink_to("outside")
    (folder / "to-folder").symlink_to("a")
    (folder / "to-itself").symlink_to(".")
    (folder / "to-outer-folder").symlink_to("..")
    (folder / "dangling").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    assert problems(listed()) == {
        "a/real": "",
        "absolute": "",
        "b/x": "",
        "chain": "",
        "dangling": "file_unreadable",
        "hop": "symbolic_link",
        "inside": "",
        "loop": "file_unreadable",
        "neighbour": "symbolic_link",
        "outside": "symbolic_link",
        "through": "symbolic_link",
        "to-folder": "not_a_file",
        "to-itself": "not_a_file",
        "to-outer-folder": "symbolic_link",
    }


def test_a_folder_that_is_reached_by_a_link_is_listed_as_itself(folder, tmp_path):
    touch(folder, "a")
    (folder / "b").symlink_to("a")
    (tmp_path / "link").symlink_to(folder)
    write_listing(tmp_path / "link", tmp_path / "inputs", tmp_path / "job")
    (chunk,) = read_listing(tmp_path / "inputs")
    assert problems(chunk.inputs) == {"a": "", "b": ""}


def test_a_pipe_and_a_socket_are_named_and_not_opened(folder, listed, monkeypatch):
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(listed).result(10)
    assert problems(found) == {"pipe": "not_a_file", "socket": "not_a_file"}


def test_a_folder_too_deep_to_name_is_a_row_and_not_the_end(folder, listed):
    touch(folder, "z")
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=handle)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    deep, last = listed()
    assert deep.problem == "folder_unreadable: the folder cannot be listed (File name too long)"
    assert last.path == "z"


def test_a_thousand_folders_in_one_another_are_no_recursion(folder, listed):
    path = folder
    for _ in range(1500):
        path /= "d"
        path.mkdir()
    touch(path, "x")
    found = listed()
    subprocess.run(["rm", "-r", folder], check=True)  # pytest's own tidying is recursive
    assert [each.path for each in found] == ["d/" * 1500 + "x"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_listed_is_a_row(folder, listed):
    touch(folder, "a/b", "c")
    (folder / "a").chmod(0)
    assert problems(listed()) == {"a": "folder_unreadable", "c": ""}
    (folder / "a").chmod(0o700)


def test_a_folder_without_files_is_refused(folder, listed):
    (folder / "empty").mkdir()
    touch(folder, ".hidden")
    with pytest.raises(WrongUse, match="pictures holds no files; give a folder of pictures"):
        listed()
