"""`tintype serve`: Granian in front of the Flask application, each web process with an engine of its own."""

import errno
import logging
import math
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import granian._signals
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from artifacts.errors import WrongUse
from artifacts.settings import Settings
from serving.children import die_with_parent
from serving.telemetry import sink
from serving.telemetry.snapshots import shared_folder

BLOCKING_THREADS = 64  # requests that one process works on or lets wait for its engine at a time
GRACE_SECONDS = 2  # beyond the deadline: how long requests in flight may take after SIGTERM


def serve(settings: Settings, host: str, port: int, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first. `started` is called when the port is ours.

    Raises:
        WrongUse: the address cannot be used.
    """
    address = _free_address(host, port)
    sink.check(settings, os.environ)
    server = MPServer(
        "tintype",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=settings.api_processes,
        blocking_threads=BLOCKING_THREADS,
        workers_kill_timeout=math.ceil((settings.deadline_ms + settings.drain_ms) / 1000) + GRACE_SECONDS,
        respawn_failed_workers=True,
        websockets=False,
        log_level=LogLevels.error,
    )
    server.on_startup(started)
    parent = os.getpid()
    refusals: multiprocessing.SimpleQueue[str] = multiprocessing.SimpleQueue()
    with shared_folder() as shared:

        def load() -> Callable[..., Any]:
            die_with_parent(parent)
            _die_of_signals_while_loading(server)
            try:
                application, draining = _application(settings, shared)
            except WrongUse as error:
                refusals.put(str(error))
                os.kill(parent, signal.SIGTERM)
                signal.pause()  # the parent ends this process; one that ended by itself would be started again
                raise
            drain = _drain(draining, settings.drain_ms / 1000)
            granian._signals.set_sync_signals = _handled(granian._signals.set_sync_signals, drain)  # noqa: SLF001
            return application

        server.serve(target_loader=load, wrap_loader=False)
    if not refusals.empty():
        raise WrongUse(refusals.get())


def _application(settings: Settings, shared: Path) -> tuple[Callable[..., Any], threading.Event]:
    """What each web process loads, after it was forked: Flask, the models, the engine's threads."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from serving.api.app import create_app

    app = create_app(settings, shared)
    return app, app.extensions["tintype"].draining


def _die_of_signals_while_loading(server: MPServer) -> None:
    """End a web process that is told to stop before it takes requests.

    Until Granian sets a worker's own handlers, those inherited from the parent would only note the signal, and the
    parent would wait for the grace to pass.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if server.interrupt_signal:  # it came between the fork and here
        os.kill(os.getpid(), signal.SIGTERM)


def _handled(set_signals: Callable[[], object], drain: Callable[[int], float]) -> Callable[[], object]:
    """Granian's own handlers in a web process, called when it has drained, and deaf after the first signal.

    A second one stops the process from finishing its requests (seen with Granian 2.8.7), and a second one is usual:
    Ctrl-C reaches the whole group, systemd the whole control group, and the parent passes each on besides.
    """

    def install() -> object:
        event = set_signals()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _once(signal.getsignal(number), drain))
        return event

    return install


def _once(handle: Any, drain: Callable[[int], float]) -> Callable[[int, FrameType | None], None]:  # noqa: ANN401 - whatever signal.signal takes
    def first(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        if seconds := drain(number):
            threading.Timer(seconds, handle, (number, frame)).start()
        else:
            handle(number, frame)

    return first


def _drain(draining: threading.Event, seconds: float) -> Callable[[int], float]:
    """Say to whoever asks that this server is not ready; how long they may take to see it. Ctrl-C waits for nobody."""

    def begin(number: int) -> float:
        draining.set()
        return seconds if number == signal.SIGTERM else 0.0

    return begin


def _free_address(host: str, port: int) -> str:
    """The numeric address of `host`; looked at first, for Granian's own sockets would share a port in use silently."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise WrongUse(f"cannot serve on {host}:{port}: {why}; choose with --host and --port") from None
    return str(address[0])
