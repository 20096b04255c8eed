import logging
import os
import time

import pytest

from artifacts.files import sha256
from serving.jobs import retention
from serving.jobs.job import Status
from serving.jobs.retention import DAY, Retention
from serving.jobs.store import Jobs, Key, Order, moment
from tests.jobs import MODEL

DAYS = 7


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


@pytest.fixture
def create(jobs, monkeypatch):
    """A job that was made some days ago, and has been over for some, or is at work (None)."""

    def made(name, days, over, status=Status.SUCCEEDED):
        key = Key(name, "1")
        with monkeypatch.context() as patch:
            patch.setattr("serving.jobs.store.moment", lambda _: moment(time.time() - days * DAY))
            job = jobs.create(Order(None, MODEL, 1000), lambda folder: (folder / "a.png").write_bytes(b"x"), key)
        if over is not None:
            marker = job.path / ("summary.json" if status == Status.SUCCEEDED else status)
            marker.write_text("{}")
            age(marker, over)
        age(jobs.root / ".keys" / sha256(name.encode()), days)
        return job

    return made


def age(path, days):
    os.utime(path, (time.time() - days * DAY,) * 2)


def test_jobs_that_have_been_over_for_long_are_deleted_with_their_uploads_and_no_others(jobs, create, caplog):
    old = [
        create("a", 9, 8),
        create("b", 90, 80, Status.FAILED),
        create("c", 30, 7.1, Status.CANCELLED),
    ]
    kept = [create("d", 9, 6), create("e", 90, None), create("f", 3, 2)]
    paused = create("g", 90, 80)
    (paused.path / "summary.json").rename(paused.path / "paused")
    assert all((job.path / "uploads" / "a.png").exists() for job in old)
    with caplog.at_level(logging.WARNING):
        assert Retention(jobs, DAYS).sweep() == 3
    assert [job for job in [*old, *kept, paused] if job.path.exists()] == [*kept, paused]
    assert "3 jobs deleted that were over for more than 7 days" in caplog.text
    assert Retention(jobs, DAYS).sweep() == 0


def test_a_job_that_goes_on_again_is_kept(jobs, create):
    job = create("a", 90, 80, Status.CANCELLED)
    jobs.resume(job.id)
    assert Retention(jobs, DAYS).sweep() == 0
    assert job.path.exists()


def test_without_a_number_of_days_everything_is_kept(jobs, create):
    job = create("a", 900, 800)
    Retention(jobs, 0).turn()
    assert job.path.exists()


def test_all_jobs_are_looked_at_now_and_then(jobs, create, monkeypatch):
    keeper = Retention(jobs, DAYS)
    keeper.turn()
    job = create("a", 90, 80)
    keeper.turn()
    assert job.path.exists()
    monkeypatch.setattr(retention, "SWEEP_SECONDS", 0.0)
    keeper = Retention(jobs, DAYS)
    keeper.turn()
    assert not job.path.exists()
    job = create("b", 90, 80)
    keeper.turn()
    assert not job.path.exists()


def test_keys_of_jobs_that_are_gone_are_forgotten(jobs, create):
    create("a", 90, 80)
    create("b", 90, None)
    create("c", 1, None)
    Retention(jobs, DAYS).sweep()
    assert len(list((jobs.root / ".keys").iterdir())) == 2
    (jobs.root / ".keys" / "damaged").write_text("{")
    age(jobs.root / ".keys" / "damaged", 90)
    Retention(jobs, DAYS).sweep()
    assert len(list((jobs.root / ".keys").iterdir())) == 2
