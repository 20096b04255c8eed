import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from artifacts.errors import TintypeError
from serving.errors import KeyReused, NotFinished, UnknownJob
from serving.jobs.inputs import Listing
from serving.jobs.job import NO_ROOM, Plan, Status
from serving.jobs.store import Jobs, Key, Order

MODEL = {"name": "tones", "version": 7, "sha256": "0" * 64}


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


@pytest.fixture
def order(tmp_path):
    return Order(tmp_path / "pictures", MODEL, 1000)


def finish(job):
    (job.path / "summary.json").write_text("{}")


def test_a_job_is_read_as_it_was_asked_for(jobs, order, tmp_path):
    job = jobs.create(order._replace(priority=7))
    again = jobs.get(job.id)
    assert again == job
    assert (again.folder, again.model, again.max_pixels) == (tmp_path / "pictures", MODEL, 1000)
    assert (again.priority, again.source) == (7, "folder")
    assert json.loads((job.path / "job.json").read_bytes())["id"] == job.id


def test_a_job_that_was_made_is_whole_or_not_there(jobs, order):
    def fill(folder):
        (folder / "a.png").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        jobs.create(order._replace(folder=None, source="upload"), fill)
    assert [path.name for path in jobs.root.iterdir()] == [".active"]
    assert jobs.page(10) == jobs.active() == []


def test_uploads_lie_in_a_folder_of_the_jobs_own(jobs, order):
    job = jobs.create(order._replace(folder=None), lambda folder: (folder / "a").write_bytes(b"x"))
    assert (job.folder / "a").read_bytes() == b"x"
    assert job.folder.parent == job.path


@pytest.mark.parametrize("name", ["", "..", "../x", "20261121T213000123-5f0c9a2g", "20261121T213000123-5f0c9a21"])
def test_an_id_that_is_none_is_unknown(jobs, name):
    with pytest.raises(UnknownJob, match="there is no job"):
        jobs.get(name)


def test_jobs_are_listed_newest_first_a_page_at_a_time(jobs, order):
    made = []
    for _ in range(5):
        made.append(jobs.create(order).id)
        time.sleep(0.002)
    (jobs.root / "pictures-5f0c9a21").mkdir()
    assert [job.id for job in jobs.page(2)] == made[:-3:-1]
    assert [job.id for job in jobs.page(9, before=made[3])] == made[2::-1]


def test_the_same_key_gives_the_same_job_and_another_request_with_it_is_refused(jobs, order):
    first = jobs.create(order, key=Key("k", "1"))
    assert jobs.create(order, key=Key("k", "1")) == first
    assert jobs.create(order, key=Key("l", "1")) != first
    with pytest.raises(KeyReused, match="another request"):
        jobs.create(order, key=Key("k", "2"))


def test_the_same_key_many_times_at_once_makes_one_job(jobs, order):
    barrier = threading.Barrier(8)

    def create():
        barrier.wait()
        return jobs.create(order, key=Key("k", "1")).id

    with ThreadPoolExecutor(8) as pool:
        assert len({each.result() for each in [pool.submit(create) for _ in range(8)]}) == 1
    assert len(jobs.page(10)) == 1


def test_a_key_whose_job_was_never_made_makes_it(jobs, order):
    def die(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.create(order._replace(folder=None), die, Key("k", "1"))
    assert jobs.create(order, key=Key("k", "1")).status() == Status.QUEUED


def test_the_status_is_what_the_directory_says(jobs, order):
    job = jobs.create(order)
    assert (job.status(), job.reason()) == (Status.QUEUED, None)
    assert job.agree(Plan("int8", 8, 512, 1000)) == job.agree(Plan("fp32", 4, 5, 6)) == Plan("int8", 8, 512, 1000)
    assert job.status() == Status.RUNNING
    job.mark(Status.PAUSED, "no room")
    assert (job.status(), job.reason()) == (Status.PAUSED, "no room")
    job.mark(Status.FAILED, "damaged")
    assert (job.status(), job.reason()) == (Status.FAILED, "damaged")
    job.unmark(Status.FAILED, Status.PAUSED)
    assert job.status() == Status.RUNNING
    finish(job)
    assert job.status() == Status.SUCCEEDED


def test_a_marker_that_finds_no_room_for_its_text_marks_all_the_same(jobs, order, monkeypatch):
    job = jobs.create(order)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    job.mark(Status.PAUSED, "whatever")
    assert (job.status(), job.reason()) == (Status.PAUSED, NO_ROOM)


def test_cancel_and_resume(jobs, order):
    job = jobs.create(order)
    assert jobs.active() == [job]
    assert jobs.cancel(job.id).status() == Status.CANCELLED
    assert jobs.active() == []
    assert jobs.resume(job.id).status() == Status.QUEUED
    assert jobs.active() == [job]
    finish(job)
    assert jobs.cancel(job.id).status() == jobs.resume(job.id).status() == Status.SUCCEEDED
    assert jobs.active() == []


def test_a_job_that_is_at_work_is_not_deleted(jobs, order):
    job = jobs.create(order, key=Key("k", "1"))
    with pytest.raises(NotFinished, match="cancel it first"):
        jobs.delete(job.id)
    jobs.cancel(job.id)
    jobs.delete(job.id)
    with pytest.raises(UnknownJob):
        jobs.get(job.id)
    assert jobs.active() == []


def test_what_a_kill_left_behind_is_healed(jobs, order):
    lost, over = jobs.create(order), jobs.create(order)
    finish(over)
    (jobs.root / ".active" / lost.id).unlink()
    old, new = jobs.root / ".new-old", jobs.root / ".new-new"
    for path in (old, new):
        path.mkdir()
    os.utime(old, (0, 0))
    jobs.heal()
    assert jobs.active() == [lost]
    assert (old.exists(), new.exists()) == (False, True)


def test_the_listing_is_known_when_it_is_complete(jobs, order):
    job = jobs.create(order)
    assert job.listed() is None
    (job.inputs / "listed.json").write_text('{"files": 3, "chunks": 1}')
    assert job.listed() == Listing(3, 1)


@pytest.mark.parametrize("record", ["", "{", "[]", '{"id": 1}'])
def test_a_job_that_is_damaged_says_so_and_hides_no_other(jobs, order, record):
    bad, good = jobs.create(order), jobs.create(order)
    (bad.path / "job.json").write_text(record)
    with pytest.raises(TintypeError, match="is damaged"):
        jobs.get(bad.id)
    jobs.heal()
    assert jobs.page(9) == jobs.active() == [good]
