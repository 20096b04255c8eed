"""`tintype serve`: Granian in front of the Flask application, each web process with an engine of its own."""

import errno
import logging
import math
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import granian._signals
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.mp import MPServer

from artifacts.errors import WrongUse
from artifacts.settings import Settings
from serving.children import die_with_parent

BLOCKING_THREADS = 64  # requests that one process works on or lets wait for its engine at a time
GRACE_SECONDS = 2  # beyond the deadline: how long requests in flight may take after SIGTERM


def serve(settings: Settings, host: str, port: int, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first. `started` is called when the port is ours.

    Raises:
        WrongUse: the address cannot be used.
    """
    address = _free_address(host, port)
    server = MPServer(
        "tintype",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        workers=settings.api_processes,
        blocking_threads=BLOCKING_THREADS,
        workers_kill_timeout=math.ceil(settings.deadline_ms / 1000) + GRACE_SECONDS,
        respawn_failed_workers=True,
        websockets=False,
        log_level=LogLevels.error,
    )
    server.on_startup(started)
    parent = os.getpid()

    def load() -> Callable[..., Any]:
        die_with_parent(parent)
        _die_of_signals_while_loading(server)
        granian._signals.set_sync_signals = _first_signal_only(granian._signals.set_sync_signals)  # noqa: SLF001
        return _application(settings)

    server.serve(target_loader=load, wrap_loader=False)


def _application(settings: Settings) -> Callable[..., Any]:
    """What each web process loads, after it was forked: the model, Flask, the engine's threads."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from serving.api.app import create_app

    return create_app(settings)


def _die_of_signals_while_loading(server: MPServer) -> None:
    """End a web process that is told to stop before it takes requests.

    Until Granian sets a worker's own handlers, those inherited from the parent would only note the signal, and the
    parent would wait for the grace to pass.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if server.interrupt_signal:  # it came between the fork and here
        os.kill(os.getpid(), signal.SIGTERM)


def _first_signal_only(set_signals: Callable[[], object]) -> Callable[[], object]:
    """Granian's own handlers in a web process, deaf after the first signal.

    A second one stops the process from finishing its requests (seen with Granian 2.8.7), and a second one is usual:
    Ctrl-C reaches the whole group, systemd the whole control group, and the parent passes each on besides.
    """

    def install() -> object:
        event = set_signals()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _deaf_after(signal.getsignal(number)))
        return event

    return install


def _deaf_after(handle: Any) -> Callable[[int, FrameType | None], None]:  # noqa: ANN401 - whatever signal.signal takes
    def first(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        handle(number, frame)

    return first


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
