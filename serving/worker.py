"""`tintype worker`: a Celery worker that holds the models, and answers online requests beside its tasks.

Celery runs it in one process (`-P solo`). A bootstep loads the models in that process, proves them on their golden
pictures, and only then opens the lane and lets Celery's consumer take work.
"""

import itertools
import json
import logging
import os
import re
import socket
import warnings
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

from celery import Celery, bootsteps, signals
from celery.apps.worker import Worker
from celery.exceptions import SecurityWarning

from artifacts import files
from artifacts.errors import Busy, WrongUse
from artifacts.settings import Settings
from serving.engine import variants
from serving.engine.batching import Runner
from serving.engine.engine import Engine
from serving.engine.hosted import HostedModels
from serving.engine.local import threads_for
from serving.engine.turns import Turns
from serving.lanes.redis import link
from serving.lanes.redis.puller import Puller
from serving.queue import BATCH, ONLINE, TRAIN, celery_app
from serving.tasks import folder_work
from serving.telemetry.batch_log import BatchLog
from serving.telemetry.exposition import SHARED, State, exposition
from serving.telemetry.outlets import outlet
from serving.telemetry.stats import EngineStats
from serving.trainings.planning import train_work

log = logging.getLogger(__name__)


class Host:
    """The models of one worker, and the engine on them."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        self.stats = EngineStats()
        self.models = HostedModels(settings)
        self._settings = settings
        self._client = link.connect(settings.redis_url)
        self._puller: Puller | None = None
        self._engine: Engine | None = None
        to = outlet("-")
        self._log = BatchLog(to) if to else None
        self.turns = Turns()
        self.runner = Runner(self.models, self.stats, self._log, self.turns)

    def load(self) -> None:
        """Load what is in production, and watch for what will be.

        Raises:
            NoRuntime: the settings ask for a runtime or device that is not to be had here.
        """
        variants.check(self._settings)
        found = self.models.live.ready()
        self.models.live.start()
        log.info("%s holds %s", self.name, ", ".join(model.ready.name for model in found) or "no model yet")

    def open(self) -> None:
        """Take online requests."""
        self._puller = Puller(self._client, self.name, self.stats, self._status)
        cores = len(os.sched_getaffinity(0))
        threads = max((threads_for(model.ready, cores) for model in self.models.live.opened()), default=cores)
        self.stats.engines = threads
        self._engine = Engine(self._puller, self.runner, threads, self._settings.batch_delay_ms / 1000)

    def close(self) -> None:
        """Finish what was taken, then sign off."""
        self.models.live.close()
        if self._engine and self._puller:
            self._engine.close()
            self._puller.leave()
        if self._log:
            self._log.close()

    def _status(self) -> str:
        models = self.models.identities()
        metrics = exposition(None, self.stats, State(models, None, SHARED, workers=1))
        refused = self.models.live.reasons()
        return json.dumps({"models": models, "refused": refused, "pid": os.getpid(), "metrics": metrics})


def work(settings: Settings, queues: list[str], name: str) -> int:
    """Run a worker until it is told to stop; its exit code.

    Raises:
        WrongUse: no Redis is set, the name cannot be used, or the settings ask for a runtime or device that is not to
            be had here.
    """
    app = celery_app(settings)
    with ExitStack() as lock:
        host = Host(settings, _name(settings, name, lock))
        if {ONLINE, BATCH}.intersection(queues):  # a trainer needs the memory for itself
            host.load()  # before Celery starts: an error here is a sentence, and the worker does not start
        folders = folder_work(app, settings, host.models, host.turns) if BATCH in queues else nullcontext()
        trainings = train_work(app, settings) if TRAIN in queues else nullcontext()
        with folders, trainings:
            return _consume(app, host, queues)


def _consume(app: Celery, host: Host, queues: list[str]) -> int:
    warnings.simplefilter("ignore", SecurityWarning)  # root's danger is pickle; only JSON is taken here
    signals.setup_logging.connect(lambda **_: None, weak=False)  # ours stays as it is
    if ONLINE in queues:
        app.steps["worker"].add(_step(host))
    worker: Any = app.Worker(
        hostname=f"{host.name}@{socket.gethostname()}",
        pool="solo",
        concurrency=1,
        queues=queues,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _step(host: Host) -> type[bootsteps.StartStopStep]:
    """The engine as a part of Celery's worker: started before its consumer, stopped after it."""

    class EngineStep(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Worker) -> None:  # noqa: ARG002 - as Celery calls it
            host.open()

        def stop(self, parent: Worker) -> None:  # noqa: ARG002 - as above
            host.close()

    return EngineStep


def _name(settings: Settings, name: str, lock: ExitStack) -> str:
    """The first free name of this host, held until the process dies: one that comes back finds what it had left."""
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise WrongUse(f"--name must be 1 to 64 letters, digits, dots, underscores, hyphens; received {name!r}")
    folder = settings.home / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count():
        with suppress(Busy):
            lock.enter_context(files.locked(folder / f"{name}-{number}.lock", wait=False))
            return f"{name}-{number}"
    raise AssertionError
