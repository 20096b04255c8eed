"""What is to be done next, found out by looking at the jobs' directories: whatever hints were lost, nothing is.

    for each job: what has no part, no live lease, and no hint that may still wait -> a hint, while there is room

Every API server and every worker may plan; the one that holds the lease does. The queue holds a few hints more than
there are chunks at work, whatever the size of the jobs. Among jobs, the one with the least at work for its priority is
next.
"""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Protocol

from serving.jobs import leases
from serving.jobs.hints import CHUNK, FINISH, LIST, Hint, Queue
from serving.jobs.inputs import has_chunk
from serving.jobs.job import Job, Status
from serving.jobs.leases import Lease, Leases
from serving.jobs.parts import done
from serving.jobs.store import Jobs

TURN_SECONDS = 0.2  # between two looks at all jobs
IDLE_SECONDS = 1.0  # between two attempts at the lease
SPARE = 4  # hints that wait beyond the number of chunks at work: whoever is free finds one
LOST_SECONDS = 3.0  # a hint that nobody has acted upon, while no hint waits, is lost, or what it led to has failed
STALE_SECONDS = 60.0  # one that nobody has acted upon is lost, whatever waits
PLANNERS, PLAN = ".planner", "plan"  # the folder of the planners' lease, and its name

log = logging.getLogger(__name__)


class Chore(Protocol):
    """What one of all who plan does besides: the webhooks, the retention."""

    def turn(self) -> None:
        """Do what is due; a planning waits for it."""


class Planner:
    """Plans while it holds the lease."""

    def __init__(self, jobs: Jobs, queue: Queue, chores: Sequence[Chore] = ()) -> None:
        self._jobs, self._queue, self._chores = jobs, queue, chores
        self._views: dict[str, View] = {}

    def run(self, closed: threading.Event) -> None:
        """Plan until closed, whenever no other does."""
        while not closed.is_set():
            try:
                self._run(closed)
            except OSError as error:  # the store or the queue is away
                log.warning("the planner cannot go on: %s; it tries again", error)
            except Exception:
                log.exception("the planner failed, a defect; it tries again")
            closed.wait(IDLE_SECONDS)

    def turn(self) -> int:
        """Look at every job once, and send what there is room for; how many hints were sent."""
        waiting = self._queue.waiting()
        self._views = {job.id: self._views.get(job.id) or View(job) for job in self._jobs.active()}
        offers = list(self._offers(waiting))
        room = SPARE + sum(view.live for view, _ in offers) - waiting
        sent = 0
        while offers and sent < room:
            view, offer = min(offers, key=lambda each: each[0].share)
            hint = next(offer, None)
            if hint is None:
                offers.remove((view, offer))
                continue
            self._queue.send(hint)
            view.sent(hint)
            sent += 1
        return sent

    def _offers(self, waiting: int) -> Iterator[tuple["View", Iterator[Hint]]]:
        for name, view in self._views.items():
            try:
                yield view, view.offers(waiting)
            except OSError as error:  # it was deleted meanwhile, or is damaged: the others go on
                log.warning("%s cannot be planned: %s", name, error)

    def _run(self, closed: threading.Event) -> None:
        folder = self._jobs.root / PLANNERS
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                leases.make_folder(folder)
        lease = Leases(folder).claim(PLAN)
        if lease is None:
            return
        with lease:
            for old in folder.glob(f"{PLAN}.*"):  # planners that died need not be counted
                if int(old.suffix[1:]) < lease.attempt:
                    old.unlink(missing_ok=True)
            self._views = {}
            self._jobs.heal()
            self._plan(lease, closed)

    def _plan(self, lease: Lease, closed: threading.Event) -> None:
        while not lease.stopped.is_set() and not closed.wait(TURN_SECONDS):
            lease.progress(0)
            self.turn()
            for chore in self._chores:
                chore.turn()


class View:
    """A job as the planner sees it."""

    def __init__(self, job: Job) -> None:
        self.live = 0  # leases
        self._job = job
        self._sent: dict[Hint, float] = {}
        self._listed = 0  # chunks that are known to be listed
        self._low = 0  # all chunks below have a part

    @property
    def share(self) -> float:
        """What is at work or will be, for its priority."""
        return (self.live + len(self._sent) + 1) / 2.0**self._job.priority

    def sent(self, hint: Hint) -> None:
        """Remember a hint that was sent."""
        self._sent[hint] = time.monotonic()
        if hint.act == FINISH:
            self._low = 0  # whoever finishes takes a damaged part away: look at all of them once more

    def offers(self, waiting: int) -> Iterator[Hint]:
        """Hints worth sending, after a look at the directory."""
        now = time.monotonic()
        patience = STALE_SECONDS if waiting else LOST_SECONDS
        claims = {name for name, claim in self._job.leases.claims().items() if claim.live}
        parts = done(self._job.parts, self._low)
        while self._low in parts:
            self._low += 1
        self.live = len(claims)
        self._sent = {
            hint: moment for hint, moment in self._sent.items()
            if now - moment < patience and hint.lease not in claims and not self._is_done(hint, parts)
        }  # fmt: skip
        wanted = (hint for hint in self._wanted(parts) if hint not in self._sent and hint.lease not in claims)
        if self._job.status() != Status.PAUSED:
            return wanted
        return islice(wanted, 0 if self.live or self._sent else 1)  # of a paused job, one at a time

    def _wanted(self, parts: set[int]) -> Iterator[Hint]:
        name, listed = self._job.id, self._job.listed()
        if not listed:
            yield Hint(LIST, name)
        while listed is None and has_chunk(self._job.inputs, self._listed):
            self._listed += 1
        chunks = listed.chunks if listed else self._listed
        yield from (Hint(CHUNK, name, number) for number in range(self._low, chunks) if number not in parts)
        if listed and self._low >= chunks:
            yield Hint(FINISH, name)

    def _is_done(self, hint: Hint, parts: set[int]) -> bool:
        return hint.act == CHUNK and (hint.chunk < self._low or hint.chunk in parts)
