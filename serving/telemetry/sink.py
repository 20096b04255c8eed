"""Where records go when their requests have been answered.

    request -> add -> [every TICK: metrics, access log, traces] -> [every PUBLISHED: the text for the other processes]

One thread a process does what is in brackets, for many records at a time. A request pays for `add` alone, and nothing
can hold it up: no full disk, no pipe that nobody reads, no collector that is down.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.util import Finalize
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from werkzeug.routing import Map

from artifacts.census import Census
from artifacts.settings import Settings
from serving.records import Record
from serving.telemetry import traces
from serving.telemetry.access_log import AccessLog
from serving.telemetry.exposition import Snapshot, merged
from serving.telemetry.outlets import outlet
from serving.telemetry.requests import RequestMetrics
from serving.telemetry.routes import QUIET, Routes
from serving.telemetry.snapshots import Snapshots
from serving.telemetry.windows import Version, Windows

if TYPE_CHECKING:
    from serving.telemetry.spans import Spans

TICK = 0.2  # seconds
PUBLISHED = 1.0  # seconds
MOST = 100_000  # records that wait for a tick, some 50 MB; more are dropped
WINDOW_SECONDS = 3600.0  # unless the settings say otherwise
WINDOWS = ".windows"  # with a dot, so that it is not taken for a snapshot
FLUSH_SECONDS = 1.0  # for the log and for the traces, when the process ends

Expose = Callable[[RequestMetrics], str]

log = logging.getLogger(__name__)


class Sink:
    """The records of one process, on their way out. Nothing is written before `start`; the metrics work without it."""

    def __init__(  # noqa: PLR0913 - all that comes of a record
        self,
        routes: Routes,
        expose: Expose,
        access_log: AccessLog | None = None,
        spans: "Spans | None" = None,
        snapshots: Snapshots | None = None,
        *,
        windows: Windows | None = None,
    ) -> None:
        self._routes = routes
        self._expose = expose
        self._access_log = access_log
        self._spans = spans
        self._snapshots = snapshots
        self._windows = windows or Windows(WINDOW_SECONDS)
        self._metrics = RequestMetrics()
        self._records: deque[Record] = deque()
        self._untold: list[Record] = []  # in the metrics, and neither in the log nor in the traces yet
        self._dropped = 0
        self._trouble = ""
        self._lock = threading.Lock()  # held by whoever counts or publishes, so that no older text replaces a newer one
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)

    def add(self, record: Record) -> None:
        """Take the record of a request that was answered; never blocks."""
        if len(self._records) < MOST:
            self._records.append(record)
        else:
            self._dropped += 1

    def start(self) -> None:
        """Begin to write; to be called after the last fork."""
        # atexit is not enough: web processes are multiprocessing's, which end without it.
        self._at_exit = Finalize(None, self._end, exitpriority=0)
        self._thread.start()

    def close(self) -> None:
        """Write what is left, in a few seconds at most; it is also done when the process ends by itself."""
        if self._thread.is_alive():
            self._at_exit()

    def text(self) -> str:
        """What this process says of itself now; published, so that no other process tells less than was told here."""
        with self._lock:
            self._count()
            self._metrics.dropped = self._dropped + (self._access_log.dropped if self._access_log else 0)
            text = self._expose(self._metrics)
            self._publish(text)
            return text

    def scrape(self, workers: Mapping[str, Snapshot]) -> str:
        """The metrics of this process, of the other web processes, and of `workers`, by name."""
        told = {"self": Snapshot(self.text())}
        told |= self._snapshots.others() if self._snapshots else {}
        told |= {f"worker {name}": snapshot for name, snapshot in workers.items()}
        return merged(told) if len(told) > 1 else told["self"].text

    def windows(self) -> dict[Version, Census]:
        """What all web processes were asked lately, by version."""
        with self._lock:
            self._count()
            return self._windows.everyones()

    def _work(self) -> None:
        published = monotonic()
        while not self._closing.wait(TICK):
            due = monotonic() - published >= PUBLISHED
            published = monotonic() if due else published
            self._tell(publish=due)
        self._tell(publish=True)
        if self._access_log:
            self._access_log.close(FLUSH_SECONDS)
        if self._spans:
            self._spans.close(FLUSH_SECONDS)

    def _tell(self, *, publish: bool) -> None:
        try:
            with self._lock:
                self._count()
                records, self._untold = self._untold, []
            if self._access_log:
                self._access_log.write(records)
            if self._spans:
                self._spans.add(records)
            if publish and self._snapshots:
                self.text()
        except Exception as error:
            if repr(error) != self._trouble:  # said once, not five times a second
                log.exception("some records are missing in the log or the traces")
            self._trouble = repr(error)

    def _publish(self, text: str) -> None:
        try:
            if self._snapshots:
                self._snapshots.publish(text)
            self._windows.publish()
        except OSError as error:
            if repr(error) != self._trouble:
                log.warning("the other processes cannot tell the metrics of this one: %s", error)
            self._trouble = repr(error)

    def _count(self) -> None:
        """Move what came in since the last time into the metrics."""
        room = MOST - len(self._untold)
        records = [self._records.popleft() for _ in range(min(len(self._records), room))]
        for record in records:
            record.route = self._routes.of(record.path, record.method)
        self._metrics.add(records)
        self._windows.add(records)
        self._untold += [record for record in records if record.route not in QUIET]

    def _end(self) -> None:
        self._closing.set()
        self._thread.join(3 * FLUSH_SECONDS)


def open_sink(
    settings: Settings,
    rules: Map,
    expose: Expose,
    folder: Path | None,
    environ: Mapping[str, str],
) -> Sink:
    """The sink of this process, not started. To be called after the last fork.

    Args:
        settings: where the access log goes.
        rules: the application's `url_map`.
        expose: the text of this process (`exposition`) with its requests; asked each second, it must neither block nor
            raise.
        folder: where the web processes leave their metrics for each other, if there are several.
        environ: OpenTelemetry's variables.

    Raises:
        WrongUse: the access log cannot be written, or traces cannot be sent.
    """
    out = outlet(settings.access_log)
    return Sink(
        Routes(rules),
        expose,
        AccessLog(out) if out else None,
        traces.open_traces(environ),
        Snapshots(folder) if folder else None,
        windows=Windows(settings.drift_seconds, _beside(folder) if folder else None),
    )


def _beside(folder: Path) -> Snapshots:
    """The folder of the windows, within that of the metrics."""
    within = folder / WINDOWS
    within.mkdir(exist_ok=True)
    return Snapshots(within, total=None)  # a window of the dead tells of what nobody can add to


def check(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise what `open_sink` would: a parent must say it once, and not each of its processes again and again.

    Raises:
        WrongUse: the access log cannot be written, or traces cannot be sent.
    """
    traces.wanted(environ)
    if out := outlet(settings.access_log):
        out.close()
