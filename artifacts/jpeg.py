"""JPEG as most pictures are, plain, whole and upright, by simplejpeg: in two thirds of Pillow's time, or a fifth.

Both are libjpeg-turbo, and give the same pixels; what Pillow adds are objects and copies. Whatever is not plain, or not
whole, is left to Pillow, so that nothing is accepted, refused or turned by two different rules.
"""

import re
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

LARGE_PIXELS = 4_000_000  # more are decoded by Pillow, a few pictures at a time
SCALES = (8, 4, 2, 1)  # that Pillow's draft knows
COLOURS = ("YCbCr", "Gray")
MAX_SCANS = 100  # as libjpeg-turbo advises to limit them
_MARKER, _SCAN, _APP1 = 0xFF, 0xDA, 0xE1
_SEQUENTIAL, _FRAMES = (0xC0, 0xC1), (0xC0, 0xC1, 0xC2)  # the last is progressive
_EXIF = b"Exif\0\0"
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_ORIENTATION, _UPRIGHT, _SHORT = 0x0112, 1, 3
# A scan's header with one of the four lengths that libjpeg takes; two bytes alone also occur in a film that a camera
# has appended to its picture.
_SCANS = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


class Plain(NamedTuple):
    """`pixels` uint8 (H, W, C), perhaps scaled by 1/2, 1/4 or 1/8; `width` and `height` as it is stored and shown."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes, channels: int, side: int, max_pixels: int) -> Plain | None:
    """Decode a plain JPEG, at least `side` pixels long and wide where it is; None: ask Pillow.

    Args:
        data: bytes that begin as a JPEG does.
        channels: 1 for grey, 3 for RGB.
        side: what it will be resized to; a larger picture is scaled in decoding, as Pillow's draft does.
        max_pixels: of the picture as it is stored; after scaling it may have LARGE_PIXELS.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        scale = next(scale for scale in SCALES if min(width, height) >= scale * side or scale == 1)
        size = -(-height // scale), -(-width // scale)
        fits = width * height <= max_pixels and size[0] * size[1] <= LARGE_PIXELS
        if not fits or colours not in COLOURS or not _is_plain(data):
            return None
        pixels = simplejpeg.decode_jpeg(data, "RGB" if channels > 1 else "GRAY", min_height=size[0], min_width=size[1])
    except (ValueError, IndexError):  # damaged, or another kind of JPEG
        return None
    return Plain(pixels, width, height) if pixels.shape[:2] == size else None


def has_too_many_scans(data: bytes) -> bool:
    """Whether it would take minutes: a small progressive JPEG can have thousands of scans."""
    return data.count(b"\xff\xda") > MAX_SCANS and len(_SCANS.findall(data)) > MAX_SCANS


def _is_plain(data: bytes) -> bool:
    """Whether no metadata turns the picture, and its scans are few; XMP, and blocks to be joined, are for Pillow."""
    place, metadata, kind = 2, [], 0
    while data[place] == _MARKER and data[place + 1] != _SCAN:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == _APP1:
            metadata.append(data[place + 4 : end])
        elif data[place + 1] in _FRAMES:
            kind = data[place + 1]
        place = end
    if data[place] != _MARKER or (kind not in _SEQUENTIAL and (not kind or has_too_many_scans(data))):
        return False
    if not metadata:
        return True
    return len(metadata) == 1 and metadata[0].startswith(_EXIF) and _orientation(metadata[0][len(_EXIF) :]) == _UPRIGHT


def _orientation(tiff: bytes) -> int | None:
    """The tag of that name in the first directory (TIFF 6.0, section 2); None where it cannot be told."""
    order = _ORDERS.get(tiff[:4])
    if order is None:
        return None
    start = int.from_bytes(tiff[4:8], order)
    for number in range(int.from_bytes(tiff[start : start + 2], order)):
        entry = tiff[start + 2 + 12 * number : start + 14 + 12 * number]
        if len(entry) < 12:  # noqa: PLR2004 - tag, type, count, value
            return None
        if int.from_bytes(entry[:2], order) == _ORIENTATION:
            return int.from_bytes(entry[8:10], order) if int.from_bytes(entry[2:4], order) == _SHORT else None
    return _UPRIGHT
