"""What every queue of hints promises: the one in a process and the one through Celery pass the same."""

import threading
from contextlib import ExitStack

import pytest
from celery.contrib.testing.worker import start_worker

from artifacts import settings
from serving.jobs.hints import CHUNK, FINISH, LIST, Hint
from serving.jobs.local_queue import LocalQueue
from serving.queue import BATCH, celery_app
from serving.tasks import NAMES, CeleryQueue, add_tasks

ID = "20261121T213000123-5f0c9a21"
HINTS = [Hint(LIST, ID), Hint(CHUNK, ID, 0), Hint(CHUNK, ID, 12345), Hint(FINISH, ID)]


class Local:
    """A queue in this process, and a thread that follows its hints."""

    def __init__(self):
        self.queue = LocalQueue()

    def follow(self, perform, stack):
        closed = threading.Event()
        thread = threading.Thread(target=self.queue.work, args=(perform, lambda: not closed.is_set(), 0.01))
        thread.start()
        stack.callback(thread.join)
        stack.callback(closed.set)


class ThroughCelery:
    """A queue through Redis, and a Celery worker as `tintype worker` starts it, in a thread."""

    def __init__(self, server):
        self._server = server
        self.queue = CeleryQueue(self._app("api"))

    def _app(self, role):
        return celery_app(settings.read({"TINTYPE_REDIS_URL": self._server.url_of(role)}))

    def follow(self, perform, stack):
        app = self._app("worker")
        app.conf.worker_hijack_root_logger = False
        add_tasks(app, perform)
        stack.enter_context(
            start_worker(
                app, pool="solo", queues=[BATCH], perform_ping_check=False, shutdown_timeout=30, loglevel="ERROR"
            )
        )


@pytest.fixture(params=["local", "celery"])
def both(request):
    return Local() if request.param == "local" else ThroughCelery(request.getfixturevalue("redis_server"))


@pytest.fixture
def follow(both):
    """Have hints followed from now on."""
    with ExitStack() as stack:
        yield lambda perform: both.follow(perform, stack)


def test_hints_arrive_as_they_were_sent_and_in_their_order(both, follow, eventually):
    seen = []
    for hint in HINTS:
        both.queue.send(hint)
    follow(seen.append)
    eventually(lambda: len(seen) == len(HINTS), 30)
    assert seen == HINTS
    assert all(type(hint) is Hint for hint in seen)


def test_what_waits_is_counted_and_what_is_taken_is_not(both, follow, eventually):
    assert both.queue.waiting() == 0
    for hint in HINTS:
        both.queue.send(hint)
    assert both.queue.waiting() == len(HINTS)
    entered, gate = threading.Event(), threading.Event()

    def hold(_):
        entered.set()
        gate.wait(30)

    follow(hold)
    try:
        assert entered.wait(30)
        eventually(lambda: both.queue.waiting() == len(HINTS) - 1)
    finally:
        gate.set()
    eventually(lambda: both.queue.waiting() == 0, 30)


def test_one_hint_is_followed_at_a_time(both, follow, eventually):
    at_work, most, seen = [], [], []

    def perform(hint):
        at_work.append(hint)
        most.append(len(at_work))
        threading.Event().wait(0.01)
        seen.append(at_work.pop())

    for hint in HINTS * 3:
        both.queue.send(hint)
    follow(perform)
    eventually(lambda: len(seen) == 12, 30)
    assert max(most) == 1


def test_a_hint_that_fails_stops_nobody(both, follow, eventually, caplog):
    seen = []

    def perform(hint):
        seen.append(hint)
        if hint.chunk == 0:
            raise RuntimeError("a defect")

    for hint in HINTS:
        both.queue.send(hint)
    follow(perform)
    eventually(lambda: seen == HINTS, 30)
    eventually(lambda: both.queue.waiting() == 0)


def test_a_redis_that_does_not_answer_is_said_so_and_is_used_again_when_it_does(redis_server):
    queue = CeleryQueue(celery_app(settings.read({"TINTYPE_REDIS_URL": redis_server.url})))
    queue.send(HINTS[0])
    redis_server.stop()
    try:
        for ask in (queue.waiting, lambda: queue.send(HINTS[1])):
            with pytest.raises(ConnectionError, match="Redis does not answer"):
                ask()
    finally:
        redis_server.start()
    queue.send(HINTS[2])
    assert queue.waiting() == 2


def test_every_hint_has_a_task_of_its_own():
    assert NAMES == {"list": "tintype.list", "chunk": "tintype.chunk", "finish": "tintype.finish"}
