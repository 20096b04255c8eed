"""Who may use the model next: online requests go first, and folder work still gets on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.25  # seconds that folder work waits for a gap between online batches before it takes one all the same


class Turns:
    """One model, wanted by people who wait and by folders that do not."""

    def __init__(self) -> None:
        self._online = 0
        self._changed = threading.Condition()

    @contextmanager
    def online(self) -> Iterator[None]:
        """While requests of people who wait are run; never blocks."""
        with self._changed:
            self._online += 1
        try:
            yield
        finally:
            with self._changed:
                self._online -= 1
                self._changed.notify_all()

    def background(self, patience: float = PATIENCE) -> float:
        """Return as soon as no online batch runs, or after `patience` seconds; gives the seconds that were waited."""
        began = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: not self._online, patience)
        return time.monotonic() - began
