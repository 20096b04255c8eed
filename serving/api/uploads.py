"""The encoded pictures of a request: one as the raw body, or one or more as files of a form."""

from typing import NamedTuple

from flask import Request

from serving.errors import NoPicture, TooLarge, WrongMediaType

# Besides image/*: what a client sends that did not say what it sends (curl --data-binary names a form).
RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
FIELD = "image"


class Upload(NamedTuple):
    """One encoded picture of a request; `name` is None for a raw body."""

    name: str | None
    data: bytes


def uploads(incoming: Request, max_pictures: int) -> list[Upload]:
    """Read the body.

    Raises:
        NoPicture, TooLarge, WrongMediaType
    """
    kind = incoming.mimetype
    if kind == "multipart/form-data":
        return _files(incoming, max_pictures)
    if kind.startswith("image/") or kind in RAW_TYPES:
        data = incoming.get_data(cache=False)
        if incoming.content_length is None:
            incoming.stream.read(1)  # a chunked body is cut off at the limit in silence; one byte more raises
        return [raw(data)]
    raise WrongMediaType(f"send image/* or multipart/form-data as Content-Type; received {kind!r}")


def raw(data: bytes) -> Upload:
    """A body that is one picture.

    Raises:
        NoPicture: it is empty.
    """
    if not data:
        raise NoPicture("the body is empty; send the bytes of one picture, or a form with files named 'image'")
    return Upload(None, data)


def _files(incoming: Request, max_pictures: int) -> list[Upload]:
    files = incoming.files.getlist(FIELD)
    if not files:
        fields = [*(f"text {name!r}" for name in incoming.form), *(f"file {name!r}" for name in incoming.files)]
        came = ", ".join(fields) or "no fields"
        raise NoPicture(f"the form needs at least one file in a field named {FIELD!r}; received {came}")
    if len(files) > max_pictures:
        raise TooLarge(f"the request has {len(files)} pictures; at most {max_pictures} are taken at a time")
    return [Upload(file.filename or None, file.read()) for file in files]
