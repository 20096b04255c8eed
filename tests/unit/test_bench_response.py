import pytest

from serving.bench.response import Response
from tests.scripted import chunked, response

BODY = b'{"label": "7"}'
WHOLE = {
    "a length": response(200, BODY),
    "chunks": chunked(BODY, 5),
    "one chunk": chunked(BODY, 99),
    "chunks and a trailer": chunked(BODY, 5, "Server-Timing: infer\r\n"),
    "an announcement before it": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response(200, BODY),
    "field names in any case": b"HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh:%d\r\n\r\n%s" % (len(BODY), BODY),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_response_is_whole_with_its_last_byte_however_it_is_cut(data, size):
    incoming = Response()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert [incoming.take(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert (incoming.status, incoming.body, incoming.stays) == (200, BODY, True)


def test_the_next_response_knows_nothing_of_the_last_one():
    incoming = Response()
    assert incoming.take(chunked(b"refused", 3).replace(b"200", b"503"))
    incoming.start()
    assert incoming.take(response(200, BODY))
    assert (incoming.status, incoming.body) == (200, BODY)


@pytest.mark.parametrize(
    ("data", "status", "stays"),
    [
        (response(200, b"", "Connection: close"), 200, False),
        (response(429, b"", "Connection: keep-alive"), 429, True),
        (response(200, b"", version="1.0"), 200, False),
        (response(200, b"", "Connection: keep-alive", version="1.0"), 200, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, True),
    ],
)
def test_whether_the_connection_may_be_used_again(data, status, stays):
    incoming = Response()
    assert incoming.take(data)
    assert (incoming.status, incoming.stays) == (status, stays)


def test_without_a_length_the_end_of_the_connection_is_that_of_the_body():
    incoming = Response()
    assert not incoming.take(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
    assert incoming.end()
    assert (incoming.body, incoming.stays) == (BODY, False)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", response(200, BODY)[:-1], chunked(BODY, 5)[:-2]])
def test_a_response_that_is_cut_off_does_not_end(data):
    incoming = Response()
    assert not incoming.take(data)
    assert not incoming.end()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\0\x02\x02\x50",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        response(200, BODY) + b"more",
        b"HTTP/1.1 200 OK\r\nA: " + 70_000 * b"a",
    ],
)
def test_what_is_no_response_is_an_error(data):
    with pytest.raises(ValueError):  # noqa: PT011 - for the load any sentence will do
        Response().take(data)
