"""The models of jobs, out of those that this process has loaded for whoever asks."""

import math
import os
from dataclasses import replace

from artifacts.settings import Settings
from artifacts.store import Reference
from serving.engine.hosted import HostedModel
from serving.engine.live import LiveModels
from serving.engine.variants import open_best
from serving.errors import NoModel
from serving.jobs.chunk import Classifier, Model
from serving.jobs.inputs import CHUNK
from serving.jobs.job import Job, Plan

CHUNK_SECONDS = 8.0  # of this machine's time: long enough to cost little, short enough to lose little
DECODE_SECONDS = 1.5e-4  # of one core, for a small picture
DECODE_BYTES = 30_000_000  # a second, of one core, of large ones
MOST = 20_000  # files of a chunk: their rows are held in memory, some 2 kB each


class JobModels:
    """Each job's own version, whatever is in production by now."""

    def __init__(self, live: LiveModels[HostedModel], settings: Settings) -> None:
        self._live, self._settings = live, settings
        self._others: dict[tuple[str, str], Model] = {}  # variants that this process would not choose, by sha256

    def plan(self, job: Job) -> Plan:
        """How this process would do a job.

        Raises:
            UnknownModel, BadBundle, NoModel, NoRuntime: its model is not to be had.
        """
        ready = self._find(job).ready
        cores = len(os.sched_getaffinity(0))
        seconds = ready.batch_seconds / ready.best_batch + DECODE_SECONDS
        files = CHUNK if math.isinf(seconds) else min(int(CHUNK_SECONDS * cores / seconds), MOST)
        size = int(CHUNK_SECONDS * cores * DECODE_BYTES)
        return Plan(ready.variant, ready.best_batch, max(files, ready.best_batch), size, ramp=True)

    def open(self, job: Job, plan: Plan) -> Classifier:
        """The very version of a job, in the variant of its plan.

        Raises:
            UnknownModel, BadBundle, NoModel, NoRuntime: it is not to be had.
        """
        hosted = self._find(job)
        model: Model = hosted.ready if hosted.ready.variant == plan.variant else self._other(hosted, plan.variant)
        return Classifier(hosted.bundle, model, plan.batch, job.max_pixels)

    def _find(self, job: Job) -> HostedModel:
        hosted = self._live.get(Reference(job.model["name"], job.model["version"]))
        if hosted.bundle.sha256 != job.model["sha256"]:
            name = f"{job.model['name']}@{job.model['version']}"
            raise NoModel(f"{name} is another one here than where the job was made; give both one store")
        return hosted

    def _other(self, hosted: HostedModel, variant: str) -> Model:
        key = hosted.bundle.sha256, variant
        if key not in self._others:
            self._others[key] = open_best(hosted.bundle, replace(self._settings, variant=variant), threads=1).runtime
        return self._others[key]
