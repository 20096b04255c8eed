"""Celery as this project uses it: the names of its queues, and one way to configure it.

Tasks carry ids and are hints: the truth lies in files, so a message that is lost, doubled or late changes nothing.
"""

from celery import Celery

from artifacts.errors import WrongUse
from artifacts.settings import Settings

ONLINE, BATCH, TRAIN = "online", "batch", "train"
QUEUES = (ONLINE, BATCH, TRAIN)  # online is the lane's; a worker that has only that one consumes an empty queue
VISIBILITY_SECONDS = 600  # a task that was taken and not acknowledged is given to another worker after this


def celery_app(settings: Settings) -> Celery:
    """The application, for those who send tasks and those who run them.

    Raises:
        WrongUse: there is no Redis to meet at.
    """
    if not settings.redis_url:
        raise WrongUse("TINTYPE_REDIS_URL is not set; workers need it, for example redis://localhost:6379/0")
    app = Celery("tintype", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue=BATCH,
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,  # a solo worker cannot listen while it works
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": "tintype:celery:",
        },
    )
    return app
