"""Folder jobs of a server without Redis: one process beside the web processes, which lives while there is a job.

It plans and works as servers and workers do. When a picture kills it, it is started again, and the job's leases have
counted the death.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

from artifacts import files
from artifacts import settings as settings_module
from artifacts.errors import Busy
from artifacts.settings import Settings
from serving.children import die_with_parent, environment
from serving.jobs.chores import chores
from serving.jobs.decoders import NICE, Decoders
from serving.jobs.local_queue import LocalQueue
from serving.jobs.pipeline import Hands
from serving.jobs.planner import Planner
from serving.jobs.store import Jobs
from serving.jobs.work import Work

LOOK_SECONDS = 0.5  # between two looks whether there is a job

log = logging.getLogger(__name__)


def keep(settings: Settings) -> None:
    """In each web process: have the one process running while there is a job. Never returns."""
    jobs = Jobs(settings.jobs)
    webhooks, retention = chores(jobs, settings)
    while True:
        try:
            retention.turn()
            if jobs.active() or webhooks.busy:
                with suppress(Busy), files.locked(settings.jobs / ".background.lock", wait=False):
                    _run(settings)
        except OSError as error:
            log.warning("the jobs' folder cannot be read: %s", error)
        threading.Event().wait(LOOK_SECONDS)


def _run(settings: Settings) -> None:
    command = [sys.executable, "-m", __name__, str(os.getpid())]
    code = subprocess.run(command, env=environment(settings), stdin=subprocess.DEVNULL, check=False).returncode  # noqa: S603
    if code:
        log.error("the process of the folder jobs ended with %d; it is started again", code)


def work(settings: Settings) -> None:
    """Do what there is to do, until every job is over."""
    from serving.engine.hosted import HostedModels
    from serving.jobs.models import JobModels

    jobs, queue, closed = Jobs(settings.jobs), LocalQueue(), threading.Event()
    hands = Hands(Decoders(), threads=len(os.sched_getaffinity(0)), give_way=lambda: None)
    performer = Work(jobs, JobModels(HostedModels(settings).live, settings), hands)
    webhooks, retention = chores(jobs, settings)
    planner = Planner(jobs, queue, (webhooks, retention))
    planning = threading.Thread(target=planner.run, args=(closed,), name="planner")
    planning.start()
    try:
        queue.work(performer.perform, lambda: bool(jobs.active()) or webhooks.busy)
    finally:
        closed.set()
        planning.join()
        hands.decoders.close()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; this one ends with its web process
    os.nice(NICE)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    work(settings_module.read(os.environ))
