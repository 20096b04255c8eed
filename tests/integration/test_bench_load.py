"""The load generator, against a server on a real socket that answers as it is told."""

import contextlib
import socket
import ssl
import threading

import pytest

from serving.bench import load
from serving.bench.connection import Route
from tests.real import free_port
from tests.scripted import CERTIFICATE, PREDICTED, TIMINGS, Scripted, answer, chunked, problem, response

REQUESTS = [b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\n\r\n" + body for body in (b"one", b"two")]
SHORT, LONG = 0.3, 60.0  # seconds
WHOLE = answer(PREDICTED)


def run(port, connections=4, requests=REQUESTS, seconds=SHORT, **more):
    more = {"warm": 0.0, **more}
    return load.run(Route(socket.AF_INET, ("127.0.0.1", port)), requests, connections, seconds, **more)


def run_on(server, connections=4, requests=REQUESTS, many=40, **more):
    """Until the server has had many requests and one was answered with 200: no slow machine cuts it short."""

    def watch(_, rate):
        return len(server.requests) < many or not rate

    return run(server.port, connections, requests, LONG, watch=watch, **more)


@pytest.mark.parametrize(
    "given",
    [
        WHOLE,
        chunked(WHOLE.partition(b"\r\n\r\n")[2], 50),
        [WHOLE[:30], WHOLE[30:200], WHOLE[200:]],
        [b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE],
    ],
    ids=["a length", "chunks", "in pieces", "after an announcement"],
)
def test_every_connection_is_kept_and_every_answer_counted(given):
    with Scripted(lambda *_: given) as server:
        level = run_on(server)
    assert level.ok > 0
    assert level.bad == {}
    assert server.connections == 4
    assert 0 <= len(server.requests) - level.ok <= 4  # those under way at the end are not counted
    assert level.stages_ms == {"decode": TIMINGS["decode_ms"], "wait": TIMINGS["wait_ms"], "infer": TIMINGS["infer_ms"]}
    assert 0 < level.p50_ms <= level.p95_ms <= level.p99_ms <= level.max_ms
    assert level.requests_per_second == pytest.approx(level.ok / level.seconds)
    assert level.generator_cores > 0


def test_requests_are_sent_whole_and_in_turn():
    with Scripted(lambda *_: WHOLE) as server:
        run_on(server, connections=1)
    assert [body for _, body in server.requests[:4]] == [b"one", b"two", b"one", b"two"]
    assert {head for head, _ in server.requests} == {b"POST /predict HTTP/1.1\r\nContent-Length: 3\r\n"}


@pytest.mark.parametrize(
    "given",
    [
        response(200, b"{}", "Connection: close"),
        response(200, b"{}", version="1.0"),
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end of the connection",
    ],
)
def test_a_server_that_closes_after_each_answer_is_connected_to_anew(given):
    with Scripted(lambda *_: given) as server:
        level = run_on(server)
    assert level.ok > 4
    assert level.bad == {}
    assert server.connections >= level.ok


def test_refusals_are_counted_by_status_and_are_no_throughput():
    turns = [WHOLE, problem(429, "the queue is full"), problem(503, "no model"), problem(504, "too late")]
    count = iter(range(10**9))
    with Scripted(lambda *_: turns[next(count) % 4]) as server:
        level = run_on(server, connections=1)
    sent = len(server.requests)
    assert level.refused.keys() == {"429", "503", "504"}
    assert all(abs(number - sent / 4) <= 1 for number in (level.ok, *level.refused.values()))
    assert level.said == {"429": "the queue is full", "503": "no model", "504": "too late"}
    assert level.failed == {}


def test_a_connection_that_is_closed_without_an_answer_fails_and_is_opened_again():
    count = iter(range(10**9))
    with Scripted(lambda *_: None if next(count) % 2 else WHOLE) as server:
        level = run_on(server)
    assert level.ok > 0
    assert level.failed.keys() == {"connection closed"}
    assert server.connections > 4


def test_what_fails_at_once_does_not_become_the_load():
    with Scripted(lambda *_: None) as server:
        level = run(server.port, 1, REQUESTS, LONG, watch=lambda *_: len(server.requests) < 3)
    assert level.ok == 0
    assert 1 <= level.failed["connection closed"] <= 1 + level.seconds / load.REST_SECONDS
    assert (level.p50_ms, level.requests_per_second, level.stages_ms) == (None, 0, None)


def test_nobody_listens():
    level = run(free_port(), connections=2)
    assert level.ok == 0
    assert level.failed.keys() == {"connection refused"}


def test_an_answer_that_is_not_http_fails():
    with Scripted(lambda *_: b"220 mail.example ESMTP\r\n") as server:
        level = run(server.port, 1, REQUESTS, LONG, watch=lambda *_: len(server.requests) < 2)
    assert (level.ok, level.failed.keys()) == (0, {"not HTTP"})


def test_a_request_without_an_answer_is_waited_for_and_then_told(monkeypatch):
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.2)
    with Scripted(lambda *_: b"") as server:
        level = run(server.port, connections=3)
    assert (level.ok, level.failed) == (0, {"no answer": 3})


def test_a_connection_that_is_never_taken_is_told(monkeypatch):
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as others:
        for _ in range(4):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        level = run(full.getsockname()[1], connections=2)
    assert (level.ok, level.failed) == (0, {"no connection": 2})


def test_an_answer_after_the_end_is_waited_for_and_not_counted():
    late = threading.Event()
    with Scripted(lambda *_: late.wait(10) and WHOLE) as server:
        timer = threading.Timer(2 * SHORT, late.set)
        timer.start()
        level = run(server.port, connections=1)
        timer.join()
    assert (level.ok, level.bad, len(server.requests)) == (0, {}, 1)


def test_what_happens_in_the_warm_up_is_not_counted():
    count = iter(range(10**9))
    with Scripted(lambda *_: WHOLE if next(count) else problem(503, "not yet")) as server:
        level = run(server.port, connections=1, warm=1.5)
    assert level.bad == {}
    assert level.ok < len(server.requests)


def test_watching_tells_the_seconds_and_can_end_it():
    told = []

    def watch(seconds, rate):
        told.append((seconds, rate))
        return len(told) < 3

    with Scripted(lambda *_: WHOLE) as server:
        level = run(server.port, seconds=LONG, watch=watch, warm=0.05)
    assert told[0] == (0, 0)
    assert len(told) == 3
    assert level.seconds < LONG


def test_a_body_larger_than_the_kernel_takes_at_once_arrives():
    body = bytes(range(256)) * 40_000  # 10 MB
    request = b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with Scripted(lambda *_: WHOLE) as server:
        level = run_on(server, connections=2, requests=[request], many=3)
    assert level.ok > 0
    assert level.bad == {}
    assert server.requests[0][1] == body
    assert server.requests[1][1] == body


def test_a_refusal_before_the_whole_body_was_sent_is_a_refusal():
    body = bytes(20_000_000)
    request = b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with Scripted(lambda *_: response(413, b"{}"), patient=False) as server:
        level = run(server.port, 2, [request], LONG, watch=lambda *_: len(server.requests) < 10)
    assert level.ok == 0
    assert level.refused["413"] > 0


def test_tls():
    big = b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)
    context = ssl.create_default_context(cafile=CERTIFICATE)
    with Scripted(lambda *_: [WHOLE[:100], WHOLE[100:]], secure=True) as server:
        route = Route(socket.AF_INET, ("127.0.0.1", server.port), context, "localhost")
        for requests in (REQUESTS, [big]):
            level = load.run(route, requests, 3, LONG, warm=0.0, watch=lambda _, rate: not rate)
            assert level.ok > 0
            assert level.bad == {}


def test_a_certificate_that_is_not_trusted_fails_every_connection():
    with Scripted(lambda *_: WHOLE, secure=True) as server:
        route = Route(socket.AF_INET, ("127.0.0.1", server.port), ssl.create_default_context(), "localhost")
        level = load.run(route, REQUESTS, 2, LONG, warm=0.0, watch=lambda *_: server.connections < 4)
    assert (level.ok, level.failed.keys()) == (0, {"TLS failed"})
