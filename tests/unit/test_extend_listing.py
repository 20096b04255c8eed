"""A listing that is continued: by one after a kill, by several at once."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from artifacts.errors import WrongUse
from serving.jobs.inputs import Cut, Listing, extend_listing, read_chunk, read_listed, write_listing
from serving.jobs.walk import Hidden, walk
from tests.real import read_listing

CUT = Cut(files=4, bytes=10_000, bunch=2)


@pytest.fixture
def folder(tmp_path):
    """Names whose order is easily got wrong: a folder sorts as its name, what it holds behind it."""
    home = tmp_path / "pictures"
    for path in ("a", "a.b", "a0", "b/a", "b/c/d", "b/c.d", "b0", "b!", "c/1", "c/2", "c/3", "z/y/x", "ä", "é/1"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(b"x" * 10)
    (home / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    (home / "empty").mkdir()
    (home / "link").symlink_to("b")
    return home


@pytest.fixture
def extend(tmp_path, folder):
    (tmp_path / "inputs").mkdir()

    def run(cut=CUT, found=lambda _: None):
        return extend_listing(source(tmp_path, folder), tmp_path / "inputs", cut, found)

    return run


def source(tmp_path, folder):
    return lambda _, last: walk(folder, tmp_path / "job", last)


def listed(target, chunks):
    return [each.path for number in range(chunks) for each in read_chunk(target, number).inputs]


@pytest.fixture
def whole(tmp_path, folder):
    """All paths, as they are listed in one go."""
    write_listing(folder, tmp_path / "whole", tmp_path / "job")
    return [each.path for chunk in read_listing(tmp_path / "whole") for each in chunk.inputs]


def test_it_lists_what_a_listing_in_one_go_does(tmp_path, extend, whole):
    seen = []
    assert extend(found=seen.append) == Listing(16, 4) == read_listed(tmp_path / "inputs")
    assert listed(tmp_path / "inputs", 4) == whole
    assert seen == [4, 8, 12, 16]


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4])
def test_one_that_was_killed_is_continued(tmp_path, extend, whole, killed_after):
    def die(files):
        if files == 4 * killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(found=die)
    before = {path: path.read_bytes() for path in (tmp_path / "inputs").iterdir()}
    assert read_listed(tmp_path / "inputs") is None
    assert extend() == Listing(16, 4)
    assert listed(tmp_path / "inputs", 4) == whole
    assert {path: path.read_bytes() for path in before} == before


def test_a_listing_goes_on_behind_every_path(tmp_path, folder, whole):
    for place in range(1, len(whole)):
        target = tmp_path / f"inputs-{place}"
        target.mkdir()
        cut = Cut(place, 10**9)

        def die(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            extend_listing(source(tmp_path, folder), target, cut, die)
        total = extend_listing(source(tmp_path, folder), target, cut, lambda _: None)
        assert listed(target, total.chunks) == whole


def test_many_at_once_write_one_listing(tmp_path, folder, whole):
    for name in range(300):
        (folder / f"many-{name}").write_bytes(b"x")
    write_listing(folder, tmp_path / "again", tmp_path / "job")
    expected = [each.path for chunk in read_listing(tmp_path / "again") for each in chunk.inputs]
    (tmp_path / "inputs").mkdir()
    barrier = threading.Barrier(4)

    def run():
        barrier.wait()
        return extend_listing(source(tmp_path, folder), tmp_path / "inputs", CUT, lambda _: None)

    with ThreadPoolExecutor(4) as pool:
        totals = {each.result() for each in [pool.submit(run) for _ in range(4)]}
    assert totals == {Listing(316, 79)}
    assert listed(tmp_path / "inputs", 79) == expected


def test_what_changes_meanwhile_doubles_nothing_and_loses_nothing_that_was_there(tmp_path, folder, extend, whole):
    chosen = random.Random(0)

    def change(files):
        (folder / f"{chosen.choice('abcz')}-{files}").write_bytes(b"x")
        if files == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extend(found=change)
    total = extend(found=change)
    paths = listed(tmp_path / "inputs", total.chunks)
    assert len(paths) == len(set(paths)) == total.files
    assert set(whole) <= set(paths)


@pytest.fixture
def with_hidden(folder):
    """The folder with 9 hidden files in it, some in folders that hold nothing else, at its beginning and end."""
    for path in (".a", ".b/x/y", "b/.z", "b/c/.1", "b/c/.2", "é/.x", "zz/.only", "ü/.last", "\u20ac/.end"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    return folder


def test_what_is_hidden_is_counted_once_wherever_a_listing_was_killed(tmp_path, with_hidden, whole):
    counted = []
    for place in range(1, len(whole)):
        target, hidden = tmp_path / f"hidden-{place}", Hidden()
        target.mkdir()

        def die(_):
            raise KeyboardInterrupt

        def listing(_, last, hidden=hidden):
            return walk(with_hidden, tmp_path / "job", last, hidden)

        for killed in range(4):
            with suppress(KeyboardInterrupt):
                extend_listing(listing, target, Cut(place, 10**9), die if killed < 3 else lambda _: None, hidden)
        counted.append(read_listed(target))
        assert listed(target, counted[-1].chunks) == whole
    assert {each.hidden for each in counted} == {9}
    assert write_listing(with_hidden, tmp_path / "again", tmp_path / "job").hidden == 9


def test_chunks_begin_small_so_that_all_have_work_and_become_whole_ones(tmp_path, folder):
    for name in range(2000):
        (folder / f"many-{name:03d}").write_bytes(b"x")
    (tmp_path / "inputs").mkdir()
    total = extend_listing(source(tmp_path, folder), tmp_path / "inputs", Cut(160, 10**9, 2, ramp=True), lambda _: None)
    sizes = [len(read_chunk(tmp_path / "inputs", number).inputs) for number in range(total.chunks)]
    assert sizes[:8] == [10, 10, 16, 24, 34, 52, 76, 114]
    assert max(sizes) == 160
    assert sizes[:-1] == sorted(sizes[:-1])
    assert Cut(160, 1600, 2, ramp=True).of(0) == Cut(10, 100, 2, ramp=True)
    assert Cut(160, 1600, 2, ramp=True).of(10**9).files == 160
    assert Cut(160, 1600, 2).of(0).files == 160


def test_chunks_end_after_whole_batches(tmp_path, folder, extend):
    total = extend(Cut(files=3, bytes=25, bunch=2))
    sizes = [len(read_chunk(tmp_path / "inputs", number).inputs) for number in range(total.chunks)]
    assert sum(sizes) == 16
    assert all(size % 2 == 0 for size in sizes[:-1])
    assert max(sizes) == 4


def test_a_folder_without_files_is_refused(tmp_path):
    for name in ("inputs", "none"):
        (tmp_path / name).mkdir()
    with pytest.raises(WrongUse, match="there are no files to classify"):
        extend_listing(source(tmp_path, tmp_path / "none"), tmp_path / "inputs", CUT, lambda _: None)
