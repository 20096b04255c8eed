import csv
import io
import json

import pytest

from serving.api.negotiation import CSV, JSON, kind, render
from serving.errors import NotAcceptable

BODY = {
    "model": {"name": "digits", "version": 3, "sha256": "ab" * 32, "variant": "int8"},
    "predictions": [
        {"file": None, "label": "7", "confidence": 0.9, "top": [{"label": "7", "confidence": 0.9}]},
        {"file": "b.jpg", "error": {"code": "not_an_image", "message": "text, no picture"}},
    ],
    "timings": {"decode_ms": 0.12, "wait_ms": 0.3, "infer_ms": 1.5, "total_ms": 2.25},
}


def rows(response):
    return list(csv.DictReader(io.StringIO(response.data.decode(), newline="")))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/*", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/json, text/plain, */*", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        ("text/csv, application/json", JSON),
        ("text/csv;q=0.5, application/json", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV", CSV),
        ("text/*", CSV),
        ("text/csv; charset=utf-8", CSV),
        ("text/csv, application/json;q=0.9", CSV),
        ("application/json;q=0.5, text/csv;q=0.6", CSV),
        ("text/csv, */*;q=0.1", CSV),
        ("application/json;q=0, */*", CSV),
    ],
)
def test_the_kind_is_the_one_that_accept_prefers(accept, expected):
    assert kind(accept) == expected
    assert render(BODY, accept).mimetype == expected


@pytest.mark.parametrize("accept", ["image/png", "text/csv;q=0", "*/*;q=0", "nonsense", "text/csv;header=absent"])
def test_an_accept_that_allows_neither_is_refused(accept):
    with pytest.raises(NotAcceptable, match="application/json or text/csv; received '"):
        render(BODY, accept)


def test_json_is_the_body_as_it_stands():
    response = render(BODY, None)
    assert response.content_type == "application/json"
    assert json.loads(response.data) == BODY


def test_csv_has_a_row_for_each_picture():
    response = render(BODY, "text/csv")
    assert response.content_type == "text/csv; charset=utf-8"
    assert response.data.splitlines(keepends=True)[0] == b"file,label,confidence,top,error\r\n"
    first, second = rows(response)
    assert first == {
        "file": "", "label": "7", "confidence": "0.9", "top": '[{"label": "7", "confidence": 0.9}]', "error": "",
    }  # fmt: skip
    assert second == {
        "file": "b.jpg", "label": "", "confidence": "", "top": "", "error": "not_an_image: text, no picture",
    }  # fmt: skip


def test_csv_names_the_model_and_the_timings_in_headers():
    headers = render(BODY, "text/csv").headers
    assert headers["X-Model"] == "digits@3"
    assert headers["X-Model-Sha256"] == "ab" * 32
    assert headers["X-Variant"] == "int8"
    assert headers["Server-Timing"] == "decode;dur=0.12, wait;dur=0.3, infer;dur=1.5, total;dur=2.25"


@pytest.mark.parametrize(
    "name", ['comma, "quoted".png', "line\nbreak.png", "return\r.png", "é日本🐈.png", "=1+1.png", "a;b.png"]
)
def test_names_of_every_kind_come_back_as_they_were(name):
    (row,) = rows(
        render(BODY | {"predictions": [{"file": name, "label": "a", "confidence": 1, "top": []}]}, "text/csv")
    )
    assert row["file"] == name


def test_a_name_that_is_no_text_is_written_with_escapes():
    (row,) = rows(render(BODY | {"predictions": [{"file": "caf\udce9", "label": "a"}]}, "text/csv"))
    assert row["file"] == "caf\\udce9"
