import json
import os
import shutil
import threading

import numpy as np
import pyarrow.parquet
import pytest

from artifacts.errors import BadBundle
from serving.errors import EngineFailed, NoModel, NotFinished
from serving.jobs import inputs, leases
from serving.jobs.hints import CHUNK, FINISH, LIST, Hint
from serving.jobs.inputs import read_chunk
from serving.jobs.job import NO_ROOM, Status
from serving.jobs.progress import describe
from serving.jobs.results import write_results
from serving.jobs.store import Jobs, Order
from serving.jobs.work import Work
from tests.jobs import MODEL, OneModel, hands, write_pictures

FILES = 30
CHUNKS = 4  # of 8 files


class Failing:
    """A runtime that raises when it meets a tone."""

    def __init__(self, runtime, tone, error):
        self._runtime, self._tone, self._error = runtime, tone, error

    def run(self, pixels):
        if (pixels[:, 0, 0, 0] == self._tone).any():
            raise self._error
        return self._runtime.run(pixels)


@pytest.fixture
def folder(tmp_path, encode):
    return write_pictures(tmp_path / "pictures", FILES, encode)


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


@pytest.fixture
def job(jobs, folder):
    return jobs.create(Order(folder, MODEL, 1_000_000))


@pytest.fixture
def models(classifier):
    return OneModel(classifier)


@pytest.fixture
def work(jobs, models):
    return Work(jobs, models, hands())


def whole(work, job, order=range(CHUNKS)):
    work.perform(Hint(LIST, job.id))
    for number in order:
        work.perform(Hint(CHUNK, job.id, number))
    work.perform(Hint(FINISH, job.id))


def rows(job):
    return pyarrow.parquet.read_table(job.path / "results.parquet").to_pylist()


def left(job):
    return [path.name for path in (job.path / "leases").iterdir()]


def results(job):
    names = ("results.csv", "results.parquet", "rejects.csv", "contact_sheet.html", "summary.json")
    return {name: (job.path / name).read_bytes() for name in names}


def test_a_job_that_is_listed_classified_and_finished_has_a_row_for_each_file(work, job, folder):
    whole(work, job)
    assert job.status() == Status.SUCCEEDED
    assert [row["path"] for row in rows(job)] == sorted(path.name for path in folder.iterdir())
    assert [row["error"] is None for row in rows(job)] == [bool(number % 7) for number in range(FILES)]
    assert (describe(job)["total"], describe(job)["done"], describe(job)["rejected"]) == (FILES, FILES, 5)
    assert left(job) == [leases.CLOCK]


def test_the_order_and_number_of_hints_change_nothing(work, jobs, job, folder):
    whole(work, job)
    other = jobs.create(Order(folder, MODEL, 1_000_000))
    work.perform(Hint(FINISH, other.id))
    work.perform(Hint(CHUNK, other.id, 2)) if (other.inputs / "00000002.json").exists() else None
    whole(work, other, [3, 1, 1, 0, 2, 3])
    whole(work, other)
    assert results(other) == results(job)


def test_a_hint_for_what_is_not_there_ends_quietly(work, jobs, job):
    work.perform(Hint(LIST, "20261121T213000123-5f0c9a21"))
    work.perform(Hint(FINISH, job.id))
    assert job.status() == Status.QUEUED
    jobs.cancel(job.id)
    work.perform(Hint(LIST, job.id))
    assert not (job.inputs / "plan.json").exists()


def test_what_another_does_is_left_to_him(work, job):
    work.perform(Hint(LIST, job.id))
    with job.leases.claim("00000000"):
        work.perform(Hint(CHUNK, job.id, 0))
        assert not list(job.parts.glob("*/*"))
    work.perform(Hint(CHUNK, job.id, 0))
    assert len(list(job.parts.glob("*/*"))) == 1


def test_a_part_that_the_disk_damaged_is_made_again(work, job):
    work.perform(Hint(LIST, job.id))
    for number in range(CHUNKS):
        work.perform(Hint(CHUNK, job.id, number))
    damaged = job.parts / read_chunk(job.inputs, 2).part
    damaged.write_bytes(damaged.read_bytes()[:100])
    work.perform(Hint(FINISH, job.id))
    assert (job.status(), damaged.exists()) == (Status.RUNNING, False)
    work.perform(Hint(CHUNK, job.id, 2))
    work.perform(Hint(FINISH, job.id))
    assert job.status() == Status.SUCCEEDED


def test_a_job_that_is_cancelled_stops_within_its_chunk(jobs, models, job, monkeypatch, brightness):
    monkeypatch.setattr(leases, "BEAT", 0.001)
    reached = threading.Event()

    def cancel():
        if not reached.is_set():
            reached.set()
            jobs.cancel(job.id)
            deadline = threading.Event()
            deadline.wait(0.2)

    work = Work(jobs, models, hands(give_way=cancel))
    work.perform(Hint(LIST, job.id))
    work.perform(Hint(CHUNK, job.id, 0))
    assert reached.is_set()
    assert not list(job.parts.glob("*/*"))
    assert left(job) == [leases.CLOCK]
    jobs.resume(job.id)
    whole(work, job)
    assert job.status() == Status.SUCCEEDED


def test_a_folder_that_is_away_pauses_the_job_and_loses_no_picture(work, job, folder, tmp_path):
    work.perform(Hint(LIST, job.id))
    folder.rename(tmp_path / "away")
    work.perform(Hint(CHUNK, job.id, 0))
    assert (job.status(), list(job.parts.glob("*/*"))) == (Status.PAUSED, [])
    assert "'pictures' is not there on" in job.reason()
    (tmp_path / "away").rename(folder)
    whole(work, job)
    assert job.status() == Status.SUCCEEDED
    assert describe(job)["reason"] is None


def test_a_full_disk_pauses_the_job_until_there_is_room(work, job, monkeypatch):
    work.perform(Hint(LIST, job.id))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        work.perform(Hint(CHUNK, job.id, 0))
        assert (job.status(), job.reason()) == (Status.PAUSED, NO_ROOM)
    work.perform(Hint(CHUNK, job.id, 0))
    assert job.status() == Status.RUNNING
    assert left(job) == [leases.CLOCK]


@pytest.mark.parametrize(
    ("error", "status"),
    [(BadBundle("tones@7 is damaged"), Status.FAILED), (NoModel("not here"), Status.PAUSED)],
)
def test_a_model_that_is_not_to_be_had_is_said(work, models, job, monkeypatch, error, status):
    def raised(*_):
        raise error

    work.perform(Hint(LIST, job.id))
    monkeypatch.setattr(models, "open", raised)
    work.perform(Hint(CHUNK, job.id, 0))
    assert (job.status(), job.reason()) == (status, str(error))


def test_an_empty_folder_fails_the_job_with_a_sentence(work, jobs, tmp_path):
    (tmp_path / "none").mkdir()
    job = jobs.create(Order(tmp_path / "none", MODEL, 1_000_000))
    work.perform(Hint(LIST, job.id))
    assert job.status() == Status.FAILED
    assert "there are no files to classify" in job.reason()


def test_a_picture_that_the_model_fails_on_is_set_aside_and_its_neighbours_are_classified(
    work, models, job, brightness
):
    models.classifier = models.classifier._replace(runtime=Failing(brightness, 10 * 5, EngineFailed("no number")))
    work.perform(Hint(LIST, job.id))
    attempts = 0
    while not list(job.parts.glob("*/*")):
        work.perform(Hint(CHUNK, job.id, 1))
        attempts += 1
    assert attempts == 3 + 1 + 3 + 1
    whole(work, job, [0, 2, 3])
    bad = [row for row in rows(job) if row["error"] and not row["error"].startswith("not_an_image")]
    assert [(row["path"], row["error"].partition(":")[0]) for row in bad] == [("0010.png", "poisoned")]
    assert sum(row["label"] is not None for row in rows(job)) == FILES - 5 - 1


def test_a_job_that_was_deleted_meanwhile_is_nobodys_trouble(work, models, job, monkeypatch):
    def gone(*_):
        shutil.rmtree(job.path)
        raise FileNotFoundError(2, "No such file or directory")

    work.perform(Hint(LIST, job.id))
    monkeypatch.setattr(models, "open", gone)
    work.perform(Hint(CHUNK, job.id, 0))
    assert not job.path.exists()


def test_rejects_are_tried_again_and_the_results_are_those_of_the_folder_as_it_is_now(work, jobs, job, folder, encode):
    whole(work, job)
    kept = {path.name: path.stat().st_mtime_ns for path in job.parts.glob("*/*")}
    (folder / "0007.png").write_bytes(encode(np.full((6, 6, 3), 250, np.uint8)))
    assert describe(jobs.retry(job.id))["status"] == Status.RUNNING
    assert jobs.active() == [job]
    with pytest.raises(NotFinished, match="is running"):
        jobs.retry(job.id)
    whole(work, job)
    assert rows(job)[7]["label"] == "light"
    assert describe(job)["rejected"] == 4
    assert {path.name for path in job.parts.glob("*/*")} == kept.keys()


def test_progress_counts_parts_and_what_is_at_work(work, job, monkeypatch, eventually):
    assert (describe(job)["status"], describe(job)["total"]) == (Status.QUEUED, 0)
    work.perform(Hint(LIST, job.id))
    work.perform(Hint(CHUNK, job.id, 0))
    told = describe(job)
    assert (told["total"], told["done"], told["rejected"], told["status"]) == (FILES, 8, 2, Status.RUNNING)
    assert told["rate"] > 0
    assert told["eta_seconds"] == pytest.approx(22 / told["rate"], rel=0.2)
    monkeypatch.setattr(leases, "BEAT", 0.01)
    with job.leases.claim("00000001") as lease:
        lease.progress(5)
        eventually(lambda: describe(job)["done"] == 13)


def test_a_chunk_whose_part_is_there_before_its_lease_is_given_back_is_counted_once(
    work, job, tmp_path, monkeypatch, eventually
):
    for hint in (Hint(LIST, job.id), Hint(CHUNK, job.id, 0), Hint(CHUNK, job.id, 1)):
        work.perform(hint)
    part = job.parts / read_chunk(job.inputs, 1).part
    part.rename(tmp_path / "part")
    monkeypatch.setattr(leases, "BEAT", 0.01)
    with job.leases.claim("00000001") as lease:
        lease.progress(5)
        eventually(lambda: describe(job)["done"] == 13)
        (tmp_path / "part").rename(part)
        assert describe(job)["done"] == 16


def test_the_results_are_those_of_a_table_written_from_the_same_rows(work, job, folder, classifier, tmp_path):
    whole(work, job)
    parts = [job.parts / read_chunk(job.inputs, number).part for number in range(CHUNKS)]
    (tmp_path / "again").mkdir()
    write_results(tmp_path / "again", classifier.reading(folder), parts, classifier.bundle.identity("fp32"))
    assert (tmp_path / "again" / "results.parquet").read_bytes() == results(job)["results.parquet"]
    assert np.mean([row["confidence"] for row in rows(job) if row["label"]]) > 0.5


def test_a_shelf_that_is_quiet_is_counted_once_until_it_changes(work, job, monkeypatch):
    monkeypatch.setattr(inputs, "SHELF", 2)
    whole(work, job)
    (job.path / "summary.json").unlink()
    shelf, note, ago = job.parts / "00001", job.parts / "00001.json", 1_000_000_000

    def let_time_pass():
        for path in (*shelf.iterdir(), shelf):
            os.utime(path, (ago, ago))

    assert (describe(job)["done"], describe(job)["rejected"], note.exists()) == (FILES, 5, False)
    let_time_pass()
    note.write_text(json.dumps({"changed": ago * 10**9, "rows": FILES, "rejected": 50}))
    assert describe(job)["rejected"] == 50 + 3
    next(shelf.iterdir()).unlink()
    assert describe(job)["done"] < FILES
    ago += 10
    let_time_pass()
    left = describe(job)
    assert json.loads(note.read_bytes())["changed"] == ago * 10**9
    assert left["done"] < FILES
