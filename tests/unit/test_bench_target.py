import pytest

from artifacts.errors import WrongUse
from artifacts.store import Reference
from serving.bench.target import parse


@pytest.mark.parametrize(
    ("url", "root", "predict"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "/predict"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000", "/predict"),
        ("http://127.0.0.1:8000/predict", "http://127.0.0.1:8000", "/predict"),
        ("http://127.0.0.1:8000/predict/", "http://127.0.0.1:8000", "/predict"),
        ("HTTP://Example.org:80", "http://example.org", "/predict"),
        ("https://example.org:443", "https://example.org", "/predict"),
        ("https://example.org:80", "https://example.org:80", "/predict"),
        ("https://example.org/below/it", "https://example.org/below/it", "/below/it/predict"),
        ("https://example.org/below/predict", "https://example.org/below", "/below/predict"),
        ("http://[::1]:8000", "http://[::1]:8000", "/predict"),
        ("http://bücher.example", "http://xn--bcher-kva.example", "/predict"),
        ("http://host/ä b", "http://host/%C3%A4%20b", "/%C3%A4%20b/predict"),
    ],
)
def test_a_url_may_be_that_of_the_server_or_of_predict(url, root, predict):
    target = parse(url, None, None, [])
    assert (target.root, target.predict) == (root, predict)


def test_the_default_ports():
    assert (parse("http://host", None, None, []).port, parse("https://host", None, None, []).port) == (80, 443)


@pytest.mark.parametrize(
    ("model", "top_k", "query"),
    [
        (None, None, ""),
        (Reference("cats"), None, "?model=cats"),
        (Reference("cats", version=3), 2, "?model=cats&version=3&top_k=2"),
        (Reference("cats", alias="canary"), None, "?model=cats&alias=canary"),
    ],
)
def test_what_each_prediction_asks_for(model, top_k, query):
    assert parse("http://host", model, top_k, []).predict == f"/predict{query}"


def test_the_query_of_the_url_is_kept():
    assert parse("http://host/predict?top_k=2", Reference("cats"), None, []).predict == "/predict?top_k=2&model=cats"


def test_headers_are_sent_along():
    target = parse("http://host", None, None, ["Authorization: Bearer a:b", "X-Team:  red "])
    assert target.headers == {"Authorization": "Bearer a:b", "X-Team": "red"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8000", "must be like http://127.0.0.1:8000"),
        ("localhost", "must be like"),
        ("ftp://host", "received 'ftp://host'"),
        ("http://", "must be like"),
        ("http://host:99999", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://me:secret@host", "--header"),
    ],
)
def test_what_is_no_url_of_a_server_gets_a_sentence(url, says):
    with pytest.raises(WrongUse, match=says) as raised:
        parse(url, None, None, [])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("Authorization", "a header is like"),
        ("a b: c", "a header is like"),
        (": c", "a header is like"),
        ("X: a\r\nY: b", "a header is like"),
        ("Content-Length: 3", "written by the bench itself"),
        ("host: other", "written by the bench itself"),
    ],
)
def test_what_is_no_header_gets_a_sentence(header, says):
    with pytest.raises(WrongUse, match=says):
        parse("http://host", None, None, [header])
