"""Hints within one process: what Celery is between machines."""

import logging
import threading
from collections import deque
from collections.abc import Callable

from serving.jobs.hints import Hint

log = logging.getLogger(__name__)


class LocalQueue:
    """Hints in the order in which they came."""

    def __init__(self) -> None:
        self._hints: deque[Hint] = deque()
        self._changed = threading.Condition()

    def send(self, hint: Hint) -> None:
        """Leave a hint."""
        with self._changed:
            self._hints.append(hint)
            self._changed.notify()

    def waiting(self) -> int:
        """Hints that nobody has taken yet."""
        return len(self._hints)

    def work(self, perform: Callable[[Hint], None], go_on: Callable[[], bool], seconds: float = 0.5) -> None:
        """Follow hints one after another for as long as `go_on` says so, which is asked every `seconds` at least."""
        while go_on():
            with self._changed:
                self._changed.wait_for(lambda: self._hints, seconds)
                hint = self._hints.popleft() if self._hints else None
            if hint:
                try:
                    perform(hint)
                except Exception:
                    log.exception("%s failed: a defect", hint)
