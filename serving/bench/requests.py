"""Pictures -> the bytes of HTTP requests, made before the load begins."""

import secrets
from typing import NamedTuple

from serving.bench.pictures import Picture
from serving.bench.target import Target

FIELD = "image"
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # in names of files: WHATWG HTML, 4.10.21.8


class Message(NamedTuple):
    """The body of a request, its media type, and the names of the pictures in it."""

    body: bytes
    kind: str
    names: list[str]


def messages(pictures: list[Picture], each: int) -> list[Message]:
    """Bodies with `each` pictures, so many that every picture is in one; a raw one, or a form (RFC 7578)."""
    if each == 1:
        return [Message(picture.data, picture.kind, [picture.name]) for picture in pictures]
    starts = range(0, len(pictures), each)
    return [_form([pictures[(start + n) % len(pictures)] for n in range(each)]) for start in starts]


def encode(target: Target, message: Message) -> bytes:
    """A whole HTTP/1.1 request."""
    fields = {
        "Host": target.authority,
        "Content-Type": message.kind,
        "Content-Length": len(message.body),
        **target.headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {target.predict} HTTP/1.1\r\n{head}\r\n".encode() + message.body


def _form(pictures: list[Picture]) -> Message:
    boundary = secrets.token_hex(16)
    parts = []
    for picture in pictures:
        name = picture.name.translate(_ESCAPES).encode(errors="surrogateescape")
        parts += [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{FIELD}"; filename="'.encode(),
            name,
            f'"\r\nContent-Type: {picture.kind}\r\n\r\n'.encode(),
            picture.data,
            b"\r\n",
        ]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return Message(body, f"multipart/form-data; boundary={boundary}", [picture.name for picture in pictures])
