"""`tintype serve`: Uvicorn in front of the application, in a few processes that share one port."""

import errno
import gc
import logging
import math
import multiprocessing
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from artifacts.errors import WrongUse
from artifacts.settings import Settings
from serving.access.cors import Cors
from serving.access.guard import Guard, open_guard
from serving.board import Board
from serving.supervisor import supervise
from serving.telemetry import sink
from serving.telemetry.snapshots import shared_folder

if TYPE_CHECKING:
    import uvicorn

GRACE_SECONDS = 2  # beyond the deadline: how long requests in flight may take after SIGTERM
BACKLOG = 2048  # connections that may wait to be accepted
KEEP_ALIVE_SECONDS = 75  # longer than the 60 of the usual proxies, so that it is they who close


class Common(NamedTuple):
    """What the web processes of a server share: a folder for their metrics, and two pieces of memory."""

    shared: Path
    board: Board
    guard: Guard | None


def serve(settings: Settings, host: str, port: int, started: Callable[[bool], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first.

    Args:
        settings: of the server.
        host: a name or an address.
        port: of TCP.
        started: called when the port is ours, with whether API keys are asked for.

    Raises:
        WrongUse: the address cannot be used, the settings ask for what is not to be had here, or keys are asked for and
            there is none.
    """
    listening = _bound(host, port, settings.api_processes)
    sink.check(settings, os.environ)
    guard = open_guard(settings, listening[0].getsockname()[0])
    _allow_many_connections()
    refusals: multiprocessing.SimpleQueue[str] = multiprocessing.SimpleQueue()
    parent = os.getpid()
    board = Board(settings.api_processes)
    started(guard is not None)
    with shared_folder() as shared:

        def work(number: int) -> None:
            try:
                board.take(number)
                _serve_in_this_process(settings, listening[number], Common(shared, board, guard))
            except WrongUse as error:
                refusals.put(str(error))
                os.kill(parent, signal.SIGTERM)
                signal.pause()  # the parent ends this process; one that ended by itself would be started again

        patience = (settings.deadline_ms + settings.drain_ms) / 1000 + 2 * GRACE_SECONDS
        supervise(work, settings.api_processes, patience)
    if not refusals.empty():
        raise WrongUse(refusals.get())


def _serve_in_this_process(settings: Settings, listening: socket.socket, common: Common) -> None:
    """What each web process does, after it was forked: load the models, then answer until it is told to stop."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    import uvicorn

    from serving.api.front import create_front
    from serving.http import Http

    front = create_front(settings, *common)
    gc.collect()
    gc.freeze()  # what is loaded stays: looking at it again and again costs a request here and there some 10 ms
    server = uvicorn.Server(
        uvicorn.Config(
            Cors(front, settings.cors_origins) if settings.cors_origins else front,
            loop="uvloop",
            http=Http,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(settings.deadline_ms / 1000) + GRACE_SECONDS,
        )
    )
    server.handle_exit = _drain(server, front.draining, settings.drain_ms / 1000)  # type: ignore[assignment, method-assign]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # Uvicorn raises them once more when it has finished
    server.run([listening])


def _drain(
    server: "uvicorn.Server", draining: threading.Event, seconds: float
) -> Callable[[int, FrameType | None], None]:
    """On the first signal: not ready any more, and after a while no new connections. Ctrl-C waits for nobody.

    Later signals change nothing, and are usual: Ctrl-C reaches the whole group, and the parent passes it on besides.
    """

    def stop() -> None:
        server.should_exit = True

    def handle(number: int, _: FrameType | None) -> None:
        if draining.is_set():
            return
        draining.set()
        if number == signal.SIGTERM and seconds:
            timer = threading.Timer(seconds, stop)
            timer.daemon = True
            timer.start()
        else:
            stop()

    return handle


def _bound(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that listen there, one for each process, among which the kernel divides the connections (SO_REUSEPORT).

    One for all would give all that come at once to whichever process wakes up first. The parent keeps them open, so
    that connections that wait for a process which dies are taken by the next one.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:  # without SO_REUSEPORT, which would share the port with another server
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        listening = [socket.socket(family) for _ in range(count)]
        for each in listening:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            each.bind(address)
            each.listen(BACKLOG)
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise WrongUse(f"cannot serve on {host}:{port}: {why}; choose with --host and --port") from None
    return listening


def _allow_many_connections() -> None:
    """As many open files as the system allows: a connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
