"""A worker's log of its batches: one JSON line each, with the ids under which its requests stand in the access log."""

import json
import threading
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple

from serving.telemetry.outlets import Outlet

WAITING = 10_000  # batches that wait for a slow reader; older ones are dropped
EVERY = 0.25  # seconds between two writes


class Batch(NamedTuple):
    """One batch that was run."""

    ended: float  # time.time()
    model: str  # name@version
    variant: str
    pictures: int
    seconds: float
    request_ids: list[str]


class BatchLog:
    """Takes batches without ever waiting; a thread of its own writes them in bulk."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._waiting: deque[Batch] = deque(maxlen=WAITING)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write_often, name="batch-log", daemon=True)
        self._thread.start()

    def add(self, batch: Batch) -> None:
        """Take one."""
        self._waiting.append(batch)

    def close(self) -> None:
        """Write what waits."""
        self._closed.set()
        self._thread.join()
        self._outlet.close()

    def _write_often(self) -> None:
        while not self._closed.wait(EVERY):
            self._write()
        self._write()

    def _write(self) -> None:
        while self._waiting:
            data = _line(self._waiting[0])
            if self._outlet.write(data) < len(data):
                break
            self._waiting.popleft()


def _line(batch: Batch) -> bytes:
    moment = datetime.fromtimestamp(batch.ended, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {
        "time": moment,
        "model": batch.model,
        "variant": batch.variant,
        "pictures": batch.pictures,
        "infer_ms": round(1000 * batch.seconds, 3),
        "request_ids": batch.request_ids,
    }
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"
