"""What there is to do for a job: list it, classify a chunk, write the results. Anybody may do it, twice or again.

    claim a lease -> look whether it is still to be done -> do it -> publish -> give the lease back

A hint that comes late, doubled or for nothing ends at the first two steps.
"""

import errno
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from artifacts.errors import TintypeError
from serving.errors import DeadlineExceeded, EngineFailed, NoModel, NoRuntime, NotNow, QueueFull
from serving.jobs import thumbnails
from serving.jobs.chunk import Classifier, Row, bunch_size
from serving.jobs.folders import see, walk
from serving.jobs.hints import CHUNK, FINISH, LIST, Hint, chunk_lease
from serving.jobs.inputs import Chunk, Cut, Source, extend_listing, read_chunk
from serving.jobs.job import NO_ROOM, OVER, Job, Plan, Status
from serving.jobs.journal import PATIENCE, Journal
from serving.jobs.leases import Lease
from serving.jobs.manifest import read_manifest
from serving.jobs.parts import is_whole, write_part
from serving.jobs.pipeline import Hands, classify_ahead
from serving.jobs.results import write_results
from serving.jobs.store import Jobs
from serving.jobs.walk import Hidden

FULL = (errno.ENOSPC, errno.EDQUOT)
IN_THE_WAY = (OSError, NotNow, NoModel, NoRuntime, QueueFull, DeadlineExceeded)  # it may pass, or another worker can
ENOUGH = 20  # attempts at what cannot be split: the listing, the results

Act = Callable[[Job, Lease], None]

log = logging.getLogger(__name__)


class Models(Protocol):
    """How a process comes by a job's model."""

    def plan(self, job: Job) -> Plan:
        """How this process would do the job."""

    def open(self, job: Job, plan: Plan) -> Classifier:
        """The very model of a job, in the plan's variant.

        Raises:
            UnknownModel, BadBundle, NoModel: it is not to be had.
        """


class Stopped(Exception):
    """The job was cancelled meanwhile, or another has taken this over."""


class Work:
    """A process at work for jobs."""

    def __init__(self, jobs: Jobs, models: Models, hands: Hands) -> None:
        self._jobs, self._models, self._hands = jobs, models, hands

    def perform(self, hint: Hint) -> None:
        """Follow a hint, if there is still something to it. Raises nothing that another attempt could mend."""
        try:
            job = self._jobs.get(hint.job)
        except TintypeError:  # it was deleted, or is damaged
            return
        if job.status() not in OVER:
            classify: Act = partial(self._classify, number=hint.chunk)
            self._do(job, hint.lease, {LIST: self._list, CHUNK: classify, FINISH: self._finish}[hint.act])

    def _list(self, job: Job, lease: Lease) -> None:
        plan = job.agree(self._models.plan(job))
        see(job.folder)
        cut = Cut(plan.files, plan.bytes, bunch_size(plan.bunch, plan.batch), plan.ramp)
        hidden = Hidden(partial(_goes_on, lease))
        extend_listing(_source(job, hidden), job.inputs, cut, lambda files: _go_on(lease, files), hidden)

    def _classify(self, job: Job, lease: Lease, number: int) -> None:
        chunk, plan = read_chunk(job.inputs, number), job.plan()
        part = job.parts / chunk.part
        if plan is None or is_whole(part, len(chunk.inputs)):
            return
        see(job.folder)
        listed = job.listed()
        model = self._models.open(job, plan)._replace(
            batch=plan.batch, bunch=plan.bunch, thumbnail=thumbnails.side(listed.files if listed else None)
        )
        rows = self._rows(job, chunk, model, lease)
        see(job.folder)  # one that was unmounted meanwhile has no files, and none of them is to blame
        write_part(part, rows)

    def _rows(self, job: Job, chunk: Chunk, model: Classifier, lease: Lease) -> list[Row]:
        def progress(files: int) -> None:
            _go_on(lease, files)

        journal = Journal(job.leases.note(chunk_lease(chunk.number)))
        if lease.attempt <= PATIENCE:
            return classify_ahead(job.folder, chunk.inputs, model, self._hands, progress)
        log.warning("chunk %d of %s: %d workers died of it; it is done with care", chunk.number, job.id, PATIENCE)
        return journal.classify(job.folder, chunk.inputs, model, progress)

    def _finish(self, job: Job, lease: Lease) -> None:
        plan, listed, parts = job.plan(), job.listed(), []
        if plan is None or listed is None:
            return
        for number in range(listed.chunks):
            chunk = read_chunk(job.inputs, number)
            parts.append(job.parts / chunk.part)
            if not is_whole(parts[-1], len(chunk.inputs)):
                parts[-1].unlink(missing_ok=True)  # damaged by the disk: it is made again
                return
            _go_on(lease, 0)
        model = self._models.open(job, plan)
        truths = _truths(job, listed.chunks) if job.manifest else None
        reading, identity = model.reading(job.folder), model.bundle.identity(plan.variant)
        write_results(job.path, reading, parts, identity, truths, listed.hidden, partial(_go_on, lease))

    def _do(self, job: Job, what: str, act: Act) -> None:
        """Do something, unless another does."""
        try:
            lease = job.leases.claim(what, wanted=lambda: job.status() not in OVER)
            if lease:
                with lease:
                    self._act(job, what, lease, act)
        except FileNotFoundError:
            if job.path.exists():  # else it was deleted
                raise
        except OSError as error:
            job.mark(Status.PAUSED, _sentence(error))

    def _act(self, job: Job, what: str, lease: Lease, act: Act) -> None:
        """What goes wrong is said where everybody sees it, or counted as a death."""
        try:
            act(job, lease)
        except Stopped:
            return
        except IN_THE_WAY as error:
            log.warning("%s is paused: %s", job.id, error)
            job.mark(Status.PAUSED, _sentence(error))
        except (TintypeError, MemoryError) as error:
            if not isinstance(error, (EngineFailed, MemoryError)):
                job.mark(Status.FAILED, str(error))
                return
            log.exception("%s of %s failed, attempt %d", what, job.id, lease.attempt)
            lease.die()
        except Exception:
            log.exception("%s of %s failed, attempt %d: a defect", what, job.id, lease.attempt)
            if what in (LIST, FINISH) and lease.attempt >= ENOUGH:
                job.mark(Status.FAILED, f"{lease.attempt} attempts to {what} it failed; the log of the worker says why")
            lease.die()
        else:
            job.unmark(Status.PAUSED)
            job.leases.clear(what)


def _source(job: Job, hidden: Hidden) -> Source:
    if job.manifest:
        return lambda files, _: read_manifest(job.inputs / job.manifest, job.folder, files)
    return lambda _, last: walk(job.folder, job.path, last, hidden)


def _truths(job: Job, chunks: int) -> Iterator[str]:
    for number in range(chunks):
        yield from (each.truth for each in read_chunk(job.inputs, number).inputs)


def _go_on(lease: Lease, files: int) -> None:
    lease.progress(files)
    _goes_on(lease)


def _goes_on(lease: Lease) -> None:
    lease.moved()
    if lease.stopped.is_set():
        raise Stopped


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return NO_ROOM if error.errno in FULL else f"the jobs' folder cannot be used now ({error.strerror})"
    return str(error)
