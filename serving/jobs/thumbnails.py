"""Small copies of pictures, in as few bytes as will do, for a page that holds thousands of them.

Most of a small JPEG is tables, which are the same in all that one program has made. So a page has each beginning once,
and of a picture which one it has and how it goes on. Base64 of both, one after the other, is that of the file.
"""

import base64
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from artifacts import pixels
from artifacts.errors import BadPicture
from serving.jobs.chunk import Reading, Row
from serving.jobs.folders import readers
from serving.jobs.walk import Input

SIDE = 80  # pixels
WORTH = 80_000  # files of a job: beyond, most would be made for pictures that are not shown
AS_IT_IS = 1_500  # bytes behind the beginning
TOGETHER = 32  # pictures that a thread reads at a time: small ones take less time than a change of threads
_START, _SCAN = b"\xff\xd8", b"\xff\xda"
_PNG = b"\x89PNG"


class Wanted(NamedTuple):
    """A picture that is to be shown."""

    path: str
    large: bool
    made: bytes | None  # while it was classified


class Thumbnail(NamedTuple):
    """Base64 of a file: which beginning it has, and how it goes on."""

    start: int
    rest: str


class Thumbnails:
    """Makes them, and keeps the beginnings."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading._replace(thumbnail=SIDE)
        self._starts: dict[bytes, int] = {}
        self._last = b""  # beginning; one program writes the same one into all of its small pictures

    def starts(self) -> list[str]:
        """Base64 of the beginnings, in the order in which they are counted."""
        return [_base64(start) for start in self._starts]

    def make(self, wanted: list[Wanted]) -> Iterator[Thumbnail | None]:
        """Of each, in order; None where it is gone or damaged meanwhile.

        Raises:
            NotNow: the folder is in the cloud, and out of reach.
        """

        def read(start: int) -> list[bytes | None]:
            some = wanted[start : start + TOGETHER]
            missing = [Input(each.path, 0, 0) for each in some if not each.made]
            to_read = readers(self._reading.folder, missing) if missing else iter(())
            return [each.made or self._read(each, next(to_read)) for each in some]

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # Pillow decodes outside Python's lock
            for some in pool.map(read, range(0, len(wanted), TOGETHER)):
                yield from (self._divided(data) if data else None for data in some)

    def _read(self, wanted: Wanted, read: Callable[[], bytes]) -> bytes | None:
        try:
            data = read()
            return self._reading.decode(data).thumbnail if wanted.large else self._short(data)
        except (OSError, BadPicture):
            return None

    def _short(self, data: bytes) -> bytes:
        """A small picture's own bytes, or fewer."""
        if len(data) <= AS_IT_IS and data.startswith((_START, _PNG)):
            return data
        start = _start_length(data)
        if start is not None and len(data) - start <= AS_IT_IS:
            return data
        return pixels.thumbnail(data, SIDE, self._reading.max_pixels)

    def _divided(self, data: bytes) -> Thumbnail:
        if not self._last or not data.startswith(self._last):
            length = (_start_length(data) or 0) // 3 * 3  # so that base64 of both is base64 of the whole
            self._last = data[:length]
        start = self._starts.setdefault(self._last, len(self._starts))
        return Thumbnail(start, _base64(data[len(self._last) :]))


def side(files: int | None) -> int:
    """Of the thumbnails that are made while a job of so many files is classified, or 0; None: nobody knows how many.

    A large picture takes long to decode, and it is decoded then: made at the end, they took half as long again.
    """
    return SIDE if files is None or files <= WORTH else 0


def is_shown_small(row: Row) -> bool:
    """Whether a row's picture is so large that a small copy is shown in its place."""
    return pixels.is_large(row["width"] or 1, row["height"] or 1, SIDE)


def _start_length(data: bytes) -> int | None:
    """Bytes of a JPEG before its first scan (ITU-T T.81, B.1.1.4: segments, each with its length); 0 of a PNG.

    None of all else, and of what is damaged.
    """
    if data.startswith(_PNG):
        return 0
    place = len(_START)
    while data.startswith(_START) and place + 4 <= len(data):
        if data.startswith(_SCAN, place):
            return place
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
