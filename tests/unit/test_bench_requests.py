import email.parser
import email.policy

import pytest

from serving.bench.pictures import Picture
from serving.bench.requests import encode, messages
from serving.bench.target import parse

PICTURES = [Picture(f"{n}.png", bytes([n]) * (n + 1), "image/png") for n in range(5)]


def parts(message):
    """(file name, type, bytes) of each part of a form, read by another's code."""
    head = f"Content-Type: {message.kind}\r\n\r\n".encode()
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + message.body)
    assert {part.get_param("name", header="content-disposition") for part in form.iter_parts()} == {"image"}
    return [(part.get_filename(), part.get_content_type(), part.get_payload(decode=True)) for part in form.iter_parts()]


def test_one_picture_a_request_is_the_raw_body():
    made = messages(PICTURES, 1)
    assert [(each.body, each.kind, each.names) for each in made] == [
        (picture.data, "image/png", [picture.name]) for picture in PICTURES
    ]


@pytest.mark.parametrize(
    ("each", "numbers"), [(2, [[0, 1], [2, 3], [4, 0]]), (5, [[0, 1, 2, 3, 4]]), (7, [[0, 1, 2, 3, 4, 0, 1]])]
)
def test_several_pictures_are_a_form_and_every_picture_is_sent(each, numbers):
    made = messages(PICTURES, each)
    assert [message.names for message in made] == [[f"{n}.png" for n in row] for row in numbers]
    assert [parts(message) for message in made] == [[tuple(_part(n)) for n in row] for row in numbers]


def _part(number):
    name, data, kind = PICTURES[number]
    return name, kind, data


def test_a_file_name_cannot_break_out_of_its_header():
    (made,) = messages([Picture('a"\r\nX: y.png', b"data", "image/png")], 2)
    assert [name for name, _, _ in parts(made)] == ["a%22%0D%0AX: y.png"] * 2


def test_a_file_name_need_not_be_utf_8():
    (made,) = messages([Picture(b"\xff.png".decode(errors="surrogateescape"), b"data", "image/png")], 2)
    assert b'filename="\xff.png"' in made.body


def test_a_request_is_http():
    target = parse("http://host:8000/below", None, 3, ["Authorization: Bearer secret"])
    head, _, body = encode(target, messages(PICTURES, 1)[2]).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    assert line == "POST /below/predict?top_k=3 HTTP/1.1"
    assert fields == [
        "Host: host:8000", "Content-Type: image/png", "Content-Length: 3", "Authorization: Bearer secret",
    ]  # fmt: skip
    assert body == PICTURES[2].data
