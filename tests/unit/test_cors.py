import asyncio

import pytest

from artifacts.errors import WrongUse
from artifacts.settings import read
from serving.access.cors import Cors

APP, OTHER = "https://app.example.org", "https://other.example.org"


async def application(_, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"an answer"})


application.direct = None  # as of the front


def ask(method="GET", **headers):
    """(status, headers, body) as a page of some origin gets them."""
    sent = []
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/predict", "headers": named}
    asyncio.run(Cors(application, read({"TINTYPE_CORS_ORIGINS": f"{APP}, http://localhost:3000"}).cors_origins)(
        scope, receive, send))  # fmt: skip
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


def test_an_origin_that_is_named_may_read_and_a_cache_keeps_it_apart():
    for origin in (APP, "http://localhost:3000"):
        status, headers, body = ask(origin=origin)
        assert (status, body) == (200, b"an answer")
        assert headers[b"access-control-allow-origin"] == origin.encode()
        assert b"X-Request-Id" in headers[b"access-control-expose-headers"]
        assert headers[b"vary"] == b"Origin"
        assert b"access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "https://app.example.org.evil.org", "http://app.example.org", APP + "/"]
)
def test_any_other_may_not(origin):
    for method in ("GET", "OPTIONS"):
        status, headers, _ = ask(method, origin=origin, access_control_request_method="POST")
        assert status == 200
        assert not [name for name in headers if name.startswith(b"access-control")]
        assert headers[b"vary"] == b"Origin"


def test_a_preflight_is_answered_without_asking_the_application():
    status, headers, body = ask(
        "OPTIONS", origin=APP, access_control_request_method="POST", access_control_request_headers="authorization"
    )
    assert (status, body) == (204, b"")
    assert headers[b"access-control-allow-origin"] == APP.encode()
    assert {b"POST", b"PUT", b"DELETE"} <= set(headers[b"access-control-allow-methods"].split(b", "))
    assert {b"Authorization", b"Content-Type"} <= set(headers[b"access-control-allow-headers"].split(b", "))
    assert b"access-control-allow-credentials" not in headers


def test_a_plain_options_request_of_a_named_origin_is_the_applications():
    assert ask("OPTIONS", origin=APP)[2] == b"an answer"


@pytest.mark.parametrize("text", ["*", "app.example.org", "https://app.example.org/", "https://*.example.org", "null"])
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(WrongUse, match="TINTYPE_CORS_ORIGINS must be origins such as"):
        read({"TINTYPE_CORS_ORIGINS": text})
