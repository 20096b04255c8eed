"""How far a job is, counted from its parts and from what those at work say."""

import json
from typing import Any, NamedTuple

from serving.jobs import notice
from serving.jobs.hints import LIST
from serving.jobs.job import OVER, Job, Status
from serving.jobs.leases import Claim
from serving.jobs.parts import done
from serving.jobs.shelves import Count, count

WINDOW = 60.0  # seconds over which the rate is taken


class Progress(NamedTuple):
    """Figures of a job."""

    total: int  # files; as many as are found so far, while it is being listed
    done: int  # files that have a row
    rejected: int  # of these, without a label
    rate: float  # files a second, of late
    eta_seconds: float | None  # None while it is being listed, or while nothing moves
    hidden: int | None  # files and folders that are none of its inputs; None while it is being listed


def describe(job: Job) -> dict[str, Any]:
    """What GET /jobs/<id> answers."""
    status = job.status()
    figures = progress(job, status)
    plan = job.plan()
    return {
        "id": job.id,
        "status": status,
        **figures._asdict(),
        "model": {**job.model, "variant": plan.variant if plan else None},
        "created": job.created,
        "priority": job.priority,
        "source": job.source,
        "reason": job.reason() if status != Status.SUCCEEDED else None,
        "webhook": _webhook(job),
    }


def progress(job: Job, status: Status) -> Progress:
    """Count."""
    if status == Status.SUCCEEDED:
        return _of_summary(job)
    claims = {name: each for name, each in job.leases.claims().items() if each.live}
    now = job.leases.now()
    began = _began(job, now)
    window = max(min(WINDOW, now - began), 1.0)
    (rows, rejected, recent), at_work = _counted(job, claims, now - window)
    listed = job.listed()
    total = listed.files if listed else max(claims.get(LIST, Claim(0, live=False, done=0)).done, rows + at_work)
    rate = 0.0 if status in OVER else round((recent + at_work) / window, 1)
    left = total - rows - at_work
    eta = round(left / rate, 1) if listed and rate and status == Status.RUNNING else None
    return Progress(total, min(rows + at_work, total), rejected, rate, eta, listed.hidden if listed else None)


def _counted(job: Job, claims: dict[str, Claim], since: float) -> tuple[Count, int]:
    """Rows of parts, and files at work.

    A part is published before the lease is given back, and perhaps between two looks: its chunk is counted once.
    """
    at_work = {int(name): claim.done for name, claim in claims.items() if name[0].isdigit()}
    published: set[int] | None = None
    while (now := _published(job, at_work)) != published:
        published, found = now, count(job.parts, since)
    return found, sum(files for number, files in at_work.items() if number not in now)


def _published(job: Job, at_work: dict[int, int]) -> set[int]:
    return at_work.keys() & done(job.parts, min(at_work)) if at_work else set()


def _webhook(job: Job) -> dict[str, Any] | None:
    """How far the message of its end is; None where none was asked for."""
    return (notice.find(job.path) or notice.Notice("")).told() if job.webhook else None


def _of_summary(job: Job) -> Progress:
    path = job.path / "summary.json"
    summary = json.loads(path.read_bytes())
    ended = path.stat().st_mtime
    seconds = max(ended - _began(job, ended), 0.001)
    total, rate = summary["total"], round(summary["total"] / seconds, 1)
    return Progress(total, total, summary["rejected"], rate, 0.0, summary.get("hidden"))


def _began(job: Job, default: float) -> float:
    plan = job.inputs / "plan.json"
    return plan.stat().st_mtime if plan.exists() else default
