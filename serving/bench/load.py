"""A load in a closed loop: each connection sends its next request when it has its answer.

One thread, raw sockets, requests that were made beforehand: the machine is left to the server that is measured.
"""

import itertools
import select
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from time import perf_counter, process_time

from serving.bench.connection import Connection, Failure, Route, State
from serving.bench.level import Level, Tally

WARM_SECONDS = 1.0
TICK_SECONDS = 0.1
REST_SECONDS = 0.1  # after a failure, so that what fails at once does not become the load
PATIENCE_SECONDS = 15.0  # for answers that are under way at the end: beyond the server's own deadline by default
_PENDING = {State.CONNECTING: "no connection", State.ASKED: "no answer"}  # what it is called when it does not end

Watch = Callable[[float, float], bool]  # (seconds since the last call, requests/s so far) -> whether to go on


def run(  # noqa: PLR0913 - this is what a load is
    route: Route,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    *,
    warm: float = WARM_SECONDS,
    watch: Watch = lambda *_: True,
) -> Level:
    """Send whole HTTP/1.1 requests in turn for `seconds` after `warm` seconds that do not count.

    A latency runs from the first byte sent to the moment at which the kernel had the last one of the response.
    """
    with closing(_Clients(route, requests, connections)) as clients:
        clients.work(warm, Tally(), watch)
        tally, processor = Tally(), process_time()
        took, went_on = clients.work(seconds, tally, watch)
        cores = (process_time() - processor) / took
        if went_on:
            clients.finish(tally, watch)
        return tally.level(connections, took, cores)


class _Clients:
    """The connections of a load, and the epoll in which they are registered."""

    def __init__(self, route: Route, requests: Sequence[bytes], count: int) -> None:
        self._events = select.epoll()
        self._requests = itertools.cycle(requests)
        self._all = [Connection(route, self._events) for _ in range(count)]
        self._by_descriptor: dict[int, Connection] = {}
        self._resting = deque((0.0, client) for client in self._all)  # (until when, who), the next one first

    def close(self) -> None:
        """Drop all connections."""
        for client in self._all:
            client.close()
        self._events.close()

    def work(self, seconds: float, tally: Tally, watch: Watch) -> tuple[float, bool]:
        """Keep every connection busy; the seconds that it took, and whether `watch` let it go on to the end."""
        began = told = tick = now = perf_counter()
        end = began + seconds
        while True:
            if now >= tick:
                self._wake(now, tally)
                took = (now - began) or TICK_SECONDS
                if not watch(now - told, len(tally.latencies) / took):
                    return took, False
                if now >= end:
                    return took, True
                told, tick = now, min(now + TICK_SECONDS, end)
            ready = self._events.poll(tick - now)
            now = perf_counter()
            if now < end:
                for descriptor, what in ready:
                    self._advance(self._by_descriptor[descriptor], what, now, tally)

    def finish(self, tally: Tally, watch: Watch) -> None:
        """Wait for the answers that are under way: too late to be counted, unless one never comes."""
        end = perf_counter() + PATIENCE_SECONDS
        while (waiting := [_PENDING[each.state] for each in self._all if each.state in _PENDING]) and watch(0, 0):
            if perf_counter() >= end:
                tally.failed.update(waiting)
                return
            for descriptor, what in self._events.poll(TICK_SECONDS):
                with suppress(Failure):
                    self._by_descriptor[descriptor].advance(what)

    def _advance(self, client: Connection, what: int, now: float, tally: Tally) -> None:
        try:
            if client.advance(what):
                tally.add(client.response, now - client.sent)
                if not client.reusable:
                    self._open(client)
            if client.state is State.IDLE:
                client.send(next(self._requests))
        except Failure as failure:
            self._rest(client, failure, now, tally)

    def _wake(self, now: float, tally: Tally) -> None:
        """Connect those that have rested."""
        while self._resting and self._resting[0][0] <= now:
            _, client = self._resting.popleft()
            try:
                self._open(client)
            except Failure as failure:
                self._rest(client, failure, now, tally)

    def _open(self, client: Connection) -> None:
        client.close()
        self._by_descriptor[client.open()] = client

    def _rest(self, client: Connection, failure: Failure, now: float, tally: Tally) -> None:
        tally.failed[str(failure)] += 1
        self._resting.append((now + REST_SECONDS, client))
