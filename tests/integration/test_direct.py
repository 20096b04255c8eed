"""The short way of one raw picture, as a client sees it who does not send one whole request after the other."""

import asyncio
import json
import socket
from typing import NamedTuple

import numpy as np
import pytest
import uvicorn
from uvicorn.server import ServerState

from artifacts.pixels import encode_png
from artifacts.settings import read
from serving.api.direct import Direct
from serving.api.front import create_front
from serving.api.predictor import LOOP_PIXELS
from serving.board import Board
from serving.http import Http


class Line(NamedTuple):
    """A connection, sent to and read from piece by piece."""

    connection: socket.socket
    incoming: object

    def send(self, data):
        self.connection.sendall(data)

    def answer(self):
        """(status, headers, JSON) of the next answer."""
        status = int(self.incoming.readline().split()[1])
        headers = {}
        while text := self.incoming.readline().decode().strip():
            name, _, value = text.partition(": ")
            assert name.lower() not in headers, f"{name} came twice"
            headers[name.lower()] = value
        return status, headers, json.loads(self.incoming.read(int(headers["content-length"])))

    def ended(self):
        """Whether the server has hung up."""
        return self.incoming.read(1) == b""


@pytest.fixture
def line(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        yield Line(connection, connection.makefile("rb"))


def post(data, *headers, version="1.1", query=""):
    lines = [f"POST /predict{query} HTTP/{version}", "Host: here", "Content-Type: image/png", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", ""]).encode() + data


def label(body):
    return body["predictions"][0]["label"]


@pytest.fixture
def expected(server, pictures):
    """The labels of the first pictures, as Flask answers them."""
    _, body = server.predict_form([(f"{number}.png", data) for number, data in enumerate(pictures.encoded[:8])])
    return [each["label"] for each in body["predictions"]]


def test_requests_sent_ahead_are_answered_in_their_order(line, pictures, expected):
    health = b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n"
    line.send(
        post(pictures.encoded[0]) + post(pictures.encoded[1]) + health + b"".join(map(post, pictures.encoded[2:8]))
    )
    first = [line.answer() for _ in range(2)]
    assert line.answer()[0] == 200
    answers = first + [line.answer() for _ in range(6)]
    assert [status for status, _, _ in answers] == [200] * 8
    assert [label(body) for _, _, body in answers] == expected


def test_a_body_may_come_in_pieces(line, pictures, expected):
    request = post(pictures.encoded[0])
    for piece in (request[:20], request[20:-40], request[-40:-1], request[-1:]):
        line.send(piece)
    assert label(line.answer()[2]) == expected[0]


def test_the_connection_is_kept_or_closed_as_the_client_asks(line, server, pictures, expected):
    line.send(post(pictures.encoded[0]))
    assert "connection" not in line.answer()[1]
    line.send(post(pictures.encoded[1], "Connection: close"))
    _, headers, body = line.answer()
    assert (headers["connection"], label(body)) == ("close", expected[1])
    assert line.ended()


def test_an_old_client_is_answered_and_let_go(line, pictures, expected):
    line.send(post(pictures.encoded[0], version="1.0"))
    assert label(line.answer()[2]) == expected[0]
    assert line.ended()


def test_whoever_hangs_up_within_a_body_harms_nobody(server, pictures, expected):
    for _ in range(100):  # more than are received at a time
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(post(bytes(999_999))[:5000])
    assert label(server.predict(pictures.encoded[0])[1]) == expected[0]


def test_more_is_received_at_a_time_than_the_short_way_holds(server, pictures, expected):
    many = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    try:
        for each in many:
            each.sendall(post(bytes(999_999))[:5000])
        status, body = server.predict(pictures.encoded[0])
        assert (status, label(body)) == (200, expected[0])
    finally:
        for each in many:
            each.close()


def test_a_picture_too_large_for_the_loop_is_answered_by_a_thread(line, server):
    side = int(LOOP_PIXELS**0.5) + 1
    picture = encode_png(np.zeros((side, side, 1), np.uint8))
    line.send(post(picture))
    status, _, body = line.answer()
    _, formed = server.predict_form([("a.png", picture)])
    assert status == 200
    assert label(body) == label(formed)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [("?model=nobody", 404, "unknown_model"), ("?tok_k=3", 400, "bad_request"), ("", 415, "not_an_image")],
)
def test_a_request_that_is_wrong_is_told_so_and_the_next_one_answered(line, pictures, expected, query, status, code):
    line.send(post(b"no picture", query=query))
    answer = line.answer()
    assert (answer[0], answer[2]["code"]) == (status, code)
    assert answer[1]["content-type"] == "application/problem+json"
    line.send(post(pictures.encoded[0], "X-Request-Id: mine"))
    _, headers, body = line.answer()
    assert (headers["x-request-id"], label(body)) == ("mine", expected[0])


def test_a_body_that_does_not_come_is_refused_and_forgotten(home, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(Direct, "seconds", 0.1)
    front = create_front(read({"TINTYPE_HOME": str(home.path)}), tmp_path, Board(1))
    config = uvicorn.Config(front, interface="asgi3", log_config=None, proxy_headers=False)

    async def exchange():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Http(config, ServerState(), {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(post(pictures.encoded[0])[:-1])
        answer = await reader.read()
        writer.close()
        server.close()
        return answer

    head, _, body = asyncio.run(exchange()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert json.loads(body)["code"] == "too_slow"
    assert front.direct.held == 0
