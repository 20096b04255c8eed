"""What each web process does for folder jobs beside answering: plan for the workers, or keep their stand-in running."""

import threading

from artifacts.settings import Settings
from serving.jobs.store import Jobs


def start_planning(settings: Settings) -> None:
    """Start a thread that goes on until the process ends; of those of several processes, one is active at a time."""
    if settings.redis_url:
        from serving.jobs.chores import chores
        from serving.jobs.planner import Planner
        from serving.queue import celery_app
        from serving.tasks import CeleryQueue

        jobs = Jobs(settings.jobs)
        planner = Planner(jobs, CeleryQueue(celery_app(settings)), chores(jobs, settings))
        thread = threading.Thread(target=planner.run, args=(threading.Event(),), name="planner", daemon=True)
    else:
        from serving.jobs.background import keep

        thread = threading.Thread(target=keep, args=(settings,), name="background", daemon=True)
    thread.start()
