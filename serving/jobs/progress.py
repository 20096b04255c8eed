"""How far a job is, counted from its parts and from what those at work say."""

import json
from typing import Any, NamedTuple

from serving.jobs import notice
from serving.jobs.hints import LIST
from serving.jobs.job import OVER, Job, Status
from serving.jobs.leases import Claim
from serving.jobs.shelves import count

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
    done, rejected, recent = count(job.parts, now - window)
    at_work = sum(each.done for name, each in claims.items() if name[0].isdigit())
    listed = job.listed()
    total = listed.files if listed else max(claims.get(LIST, Claim(0, live=False, done=0)).done, done + at_work)
    rate = 0.0 if status in OVER else round((recent + at_work) / window, 1)
    left = total - done - at_work
    eta = round(left / rate, 1) if listed and rate and status == Status.RUNNING else None
    return Progress(total, min(done + at_work, total), rejected, rate, eta, listed.hidden if listed else None)


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
