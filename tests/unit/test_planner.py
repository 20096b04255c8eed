import random
import shutil
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from serving.jobs import planner
from serving.jobs.hints import CHUNK, FINISH, LIST, Hint
from serving.jobs.job import Status
from serving.jobs.planner import SPARE, Planner
from serving.jobs.store import Jobs, Order
from serving.jobs.work import Work
from tests.jobs import MODEL, Kept, OneModel, hands, write_pictures

FILES = 100
CHUNKS = 13  # of 8 files


@pytest.fixture
def folder(tmp_path, encode):
    return write_pictures(tmp_path / "pictures", FILES, encode)


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


@pytest.fixture
def create(jobs, folder):
    return lambda priority=5: jobs.create(Order(folder, MODEL, 1_000_000, priority))


@pytest.fixture
def work(jobs, classifier):
    return Work(jobs, OneModel(classifier), hands())


@pytest.fixture
def queue():
    return Kept()


@pytest.fixture
def plan(jobs, queue):
    return Planner(jobs, queue)


@pytest.fixture
def later(monkeypatch):
    """Let seconds pass for the planner."""
    passed = [0.0]
    monkeypatch.setattr(planner, "time", SimpleNamespace(monotonic=lambda: passed[0]))

    def wait(seconds):
        passed[0] += seconds

    return wait


def over(job):
    return job.status() == Status.SUCCEEDED


def test_a_job_is_led_to_its_end(plan, queue, work, create):
    job = create()
    done = []
    while not over(job):
        plan.turn()
        done.append(queue.take())
        work.perform(done[-1])
    assert done == [
        Hint(LIST, job.id),
        *(Hint(CHUNK, job.id, number) for number in range(CHUNKS)),
        Hint(FINISH, job.id),
    ]
    assert plan.turn() == 0


def test_the_first_chunk_is_at_work_while_the_last_is_being_found(plan, queue, job_that_is_being_listed):
    plan.turn()
    assert queue.hints == [Hint(CHUNK, job_that_is_being_listed.id, number) for number in range(2)]


@pytest.fixture
def job_that_is_being_listed(create):
    job = create()
    for number in range(2):
        (job.inputs / f"{number:08d}.json").write_text("[]")
    with job.leases.claim("list"):
        yield job


def test_the_queue_holds_a_bounded_number_of_hints(plan, queue, work, create):
    jobs = [create() for _ in range(3)]
    for job in jobs:
        work.perform(Hint(LIST, job.id))
    for _ in range(5):
        plan.turn()
    assert len(queue.hints) == SPARE
    with jobs[0].leases.claim("00000007"), jobs[1].leases.claim("00000007"):
        plan.turn()
        assert len(queue.hints) == SPARE + 2
    assert len(set(queue.hints)) == len(queue.hints)


def test_a_hint_that_was_lost_is_sent_again_and_one_that_waits_is_not(plan, queue, create, later):
    job = create()
    plan.turn()
    later(planner.LOST_SECONDS + 1)
    plan.turn()
    assert queue.hints == [Hint(LIST, job.id)]
    queue.hints.clear()
    plan.turn()
    assert queue.hints == [Hint(LIST, job.id)]
    queue.hints = [Hint(LIST, "another")]
    later(planner.STALE_SECONDS + 1)
    plan.turn()
    assert queue.hints == [Hint(LIST, "another"), Hint(LIST, job.id)]


def test_whatever_a_queue_loses_and_doubles_the_job_comes_to_its_end(plan, queue, work, create, later):
    job = create()
    chosen = random.Random(0)
    while not over(job):
        later(1)
        plan.turn()
        hints, queue.hints = queue.hints, []
        for hint in chosen.choices(hints, k=3) if hints else []:
            work.perform(hint)
    assert job.status() == Status.SUCCEEDED


def test_jobs_share_by_priority(plan, queue, work, create, jobs):
    low, middle, high = create(4), create(5), create(6)
    for job in (low, middle, high):
        work.perform(Hint(LIST, job.id))
    with ExitStack() as at_work:
        for _ in range(14):
            plan.turn()
            hint = queue.take()
            at_work.enter_context(jobs.get(hint.job).leases.claim(hint.lease))
        shares = [sum(claim.live for claim in job.leases.claims().values()) for job in (low, middle, high)]
    assert shares == [2, 4, 8]


def test_a_new_job_does_not_wait_behind_a_large_one(plan, queue, work, create):
    large = create()
    work.perform(Hint(LIST, large.id))
    plan.turn()
    small = create()
    work.perform(queue.take())
    plan.turn()
    assert queue.hints[-1] == Hint(LIST, small.id)


def test_of_a_paused_job_one_hint_at_a_time_is_tried(plan, queue, work, create, later):
    job = create()
    work.perform(Hint(LIST, job.id))
    job.mark(Status.PAUSED, "no room")
    for _ in range(3):
        plan.turn()
    assert queue.hints == [Hint(CHUNK, job.id, 0)]
    work.perform(queue.take())
    assert job.status() == Status.RUNNING
    plan.turn()
    assert len(queue.hints) > 1


def test_a_part_that_went_away_is_made_again(plan, queue, work, create, later):
    job = create()
    while not plan.turn() or queue.hints[0].act != FINISH:
        work.perform(queue.take())
    sorted(job.parts.glob("*/*"))[3].unlink()
    work.perform(queue.take())
    while not over(job):
        later(planner.LOST_SECONDS + 1)
        plan.turn()
        while queue.hints:
            work.perform(queue.take())
    assert len(list(job.parts.glob("*/*"))) == CHUNKS


def test_a_job_that_is_damaged_stops_no_other(plan, queue, create):
    bad, good = create(), create()
    shutil.rmtree(bad.path / "leases")
    plan.turn()
    assert queue.hints == [Hint(LIST, good.id)]


def test_one_of_several_planners_plans_and_another_takes_over(jobs, queue, work, create, eventually):
    job = create()
    (jobs.root / ".active" / job.id).unlink()  # as if the one that made it had been killed
    closed = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=Planner(jobs, queue).run, args=(each,)) for each in closed]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: queue.hints)
        assert queue.hints == [Hint(LIST, job.id)]
        closed[0].set()
        threads[0].join()
        work.perform(queue.take())
        # And one more, if it was looked at while it was still being listed.
        eventually(lambda: len(queue.hints) >= SPARE, seconds=60)
    finally:
        for each, thread in zip(closed, threads, strict=True):
            each.set()
            thread.join()
    assert [path.name for path in (jobs.root / planner.PLANNERS).iterdir()] == [".clock"]
