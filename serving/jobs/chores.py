"""What those who plan do besides, one of them at a time."""

from typing import NamedTuple

from artifacts.settings import Settings
from serving.jobs.retention import Retention
from serving.jobs.store import Jobs
from serving.jobs.webhook import Webhooks


class Chores(NamedTuple):
    """All there are."""

    webhooks: Webhooks
    retention: Retention


def chores(jobs: Jobs, settings: Settings) -> Chores:
    """As the settings say."""
    return Chores(Webhooks(jobs, settings), Retention(jobs, settings.job_days))
