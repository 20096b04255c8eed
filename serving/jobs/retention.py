"""Jobs that have been over for so many days are deleted, with their results and uploads; never one that is not over."""

import logging
import time

from artifacts.errors import TintypeError
from serving.jobs.store import Jobs, moment

DAY = 86_400.0  # seconds
SWEEP_SECONDS = 600.0  # between two looks at all jobs

log = logging.getLogger(__name__)


class Retention:
    """Looks at all jobs now and then."""

    def __init__(self, jobs: Jobs, days: int) -> None:
        self._jobs, self._days = jobs, days
        self._next = 0.0

    def turn(self) -> None:
        """Delete what is too old, if it is time to look."""
        if self._days and time.monotonic() >= self._next:
            self._next = time.monotonic() + SWEEP_SECONDS
            self.sweep()

    def sweep(self) -> int:
        """Delete what is too old; how many jobs."""
        deleted = 0
        for job in self._jobs.all(before=moment(time.time() - self._days * DAY)):
            try:
                if (job.seconds_over() or 0.0) > self._days * DAY:
                    self._jobs.delete(job.id)
                    deleted += 1
            except (TintypeError, OSError) as error:  # resumed or deleted meanwhile: it is looked at again
                log.warning("%s is not deleted: %s", job.id, error)
        keys = self._jobs.forget_keys(self._days * DAY)
        if deleted or keys:
            log.warning("%d jobs deleted that were over for more than %d days, %d keys", deleted, self._days, keys)
        return deleted
