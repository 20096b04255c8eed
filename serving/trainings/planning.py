"""Who carries trainings out: the workers of the queue `train` or, without Redis, one web process after another.

The directories are looked at again and again: whatever message was lost, whichever trainer died, a training that is not
over and has no live lease is handed out anew.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from celery import Celery

from artifacts import files
from artifacts.errors import Busy
from artifacts.settings import Settings
from serving.queue import TRAIN
from serving.trainings.store import Trainings
from serving.trainings.training import Status
from serving.trainings.work import Trainer

TASK = "tintype.train"
TURN_SECONDS = 1.0  # between two looks at those that are not over
AGAIN_SECONDS = 5.0  # after which a message that led to nothing is sent anew
HANDED_OUT = 4  # trainings that are on their way to a worker at a time

log = logging.getLogger(__name__)

Send = Callable[[str], None]


class Planner:
    """Sends the ids of trainings that wait."""

    def __init__(self, trainings: Trainings, send: Send) -> None:
        self._trainings, self._send = trainings, send
        self._sent: dict[str, float] = {}

    def run(self, closed: threading.Event) -> None:
        """Plan until closed, whenever no other process of this folder does."""
        while not closed.wait(TURN_SECONDS):
            try:
                if self._trainings.active():
                    with suppress(Busy), files.locked(self._trainings.root / ".planner.lock", wait=False):
                        self.turn()
            except OSError as error:  # the folder or the queue is away
                log.warning("trainings cannot be planned: %s; it is tried again", error)
            except Exception:
                log.exception("trainings cannot be planned: a defect; it is tried again")

    def turn(self) -> None:
        """Send those that wait, unless it was done just now."""
        now = time.monotonic()
        self._sent = {name: moment for name, moment in self._sent.items() if now - moment < AGAIN_SECONDS}
        waiting = [each.id for each in self._trainings.active() if each.status() == Status.QUEUED]
        for name in waiting[:HANDED_OUT]:
            if name not in self._sent:
                self._send(name)
                self._sent[name] = now


def start(settings: Settings) -> None:
    """In each web process: have trainings handed out to workers or, without Redis, carried out here, until it ends."""
    if settings.redis_url:
        from serving.queue import celery_app

        planner = Planner(Trainings(settings.trainings), through(celery_app(settings)))
        target, name = lambda: planner.run(threading.Event()), "trainings"
    else:
        target, name = lambda: _carry_out_here(settings), "trainer"
    threading.Thread(target=target, name=name, daemon=True).start()


@contextmanager
def train_work(app: Celery, settings: Settings) -> Iterator[None]:
    """While a worker of the queue `train` runs: it takes one training at a time, and plans."""
    trainer, closed = Trainer(settings), threading.Event()
    app.task(_task(trainer), name=TASK, shared=False)
    planner = Planner(Trainings(settings.trainings), through(app))
    planning = threading.Thread(target=planner.run, args=(closed,), name="trainings")
    planning.start()
    try:
        yield
    finally:
        closed.set()
        trainer.close()
        planning.join()


def through(app: Celery) -> Send:
    """Send ids by way of Celery."""
    from serving.tasks import reached

    def send(name: str) -> None:
        with reached():
            app.send_task(TASK, (name,), queue=TRAIN, ignore_result=True)

    return send


def _task(trainer: Trainer) -> Callable[[str], None]:
    def task(name: str) -> None:
        trainer.take(name)

    return task


def _carry_out_here(settings: Settings) -> None:
    """One training after another, in one web process of all; the others wait for its lock. Never returns."""
    trainings, trainer = Trainings(settings.trainings), Trainer(settings)
    while True:
        try:
            if trainings.active():
                with suppress(Busy), files.locked(trainings.root / ".planner.lock", wait=False):
                    waiting = (each for each in trainings.active() if each.status() == Status.QUEUED)
                    if training := next(waiting, None):
                        trainer.carry_out(training.id)
        except OSError as error:
            log.warning("the folder of the trainings cannot be read: %s; it is tried again", error)
        threading.Event().wait(TURN_SECONDS)
