"""Celery's side of folder jobs: thin tasks that carry ids, and the queue that leads to them.

A message is a hint (`serving.jobs.hints`): it is acknowledged when it was followed, and nothing is lost with it.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from artifacts.settings import Settings
from serving.engine.hosted import HostedModels
from serving.engine.turns import Turns
from serving.jobs.chores import chores
from serving.jobs.decoders import Decoders
from serving.jobs.hints import ACTS, Hint
from serving.jobs.models import JobModels
from serving.jobs.pipeline import Hands
from serving.jobs.planner import Planner
from serving.jobs.store import Jobs
from serving.jobs.work import Work
from serving.queue import BATCH

NAMES = {act: f"tintype.{act}" for act in ACTS}  # tintype.list, tintype.chunk, tintype.finish


@contextmanager
def folder_work(app: Celery, settings: Settings, models: HostedModels, turns: Turns) -> Iterator[None]:
    """While a worker runs: it plans, and follows hints with the models that it holds; online requests go first."""
    jobs, closed = Jobs(settings.jobs), threading.Event()
    hands = Hands(Decoders(), len(os.sched_getaffinity(0)), turns.background)
    add_tasks(app, Work(jobs, JobModels(models.live, settings), hands).perform)
    planner = Planner(jobs, CeleryQueue(app), chores(jobs, settings))
    planning = threading.Thread(target=planner.run, args=(closed,), name="planner")
    planning.start()
    try:
        yield
    finally:
        closed.set()
        planning.join()
        hands.decoders.close()


def add_tasks(app: Celery, perform: Callable[[Hint], None]) -> None:
    """Have an application's worker follow hints."""
    for act, name in NAMES.items():
        app.task(_task(act, perform), name=name, shared=False)  # of this application alone


def _task(act: str, perform: Callable[[Hint], None]) -> Callable[[str, int], None]:
    def task(job: str, chunk: int) -> None:
        perform(Hint(act, job, chunk))

    return task


class CeleryQueue:
    """Hints by way of Celery."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, hint: Hint) -> None:
        """Leave a hint.

        Raises:
            ConnectionError: Redis does not answer.
        """
        with reached():
            self._app.send_task(NAMES[hint.act], (hint.job, hint.chunk), queue=BATCH, ignore_result=True)

    def waiting(self) -> int:
        """Hints that no worker has taken yet.

        Raises:
            ConnectionError: Redis does not answer.
        """
        with reached(), self._app.connection_or_acquire() as connection:
            return int(connection.default_channel.queue_declare(BATCH).message_count)


@contextmanager
def reached() -> Iterator[None]:
    """Say in our own way that Redis is away.

    Raises:
        ConnectionError: it is.
    """
    try:
        yield
    except (OperationalError, RedisError) as error:
        raise ConnectionError(f"Redis does not answer ({error})") from error
