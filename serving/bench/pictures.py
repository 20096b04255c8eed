"""The pictures that the load sends: read once, checked, kept in memory."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from artifacts import pixels
from artifacts.errors import BadPicture, WrongUse

# Enough that no cache of a server knows them all, and few enough to be read in seconds.
MOST = 256
MOST_BYTES = 64_000_000

_TYPES = ((b"\x89PNG", "image/png"), (b"RIFF", "image/webp"))
_JPEG = "image/jpeg"


class Picture(NamedTuple):
    """An encoded picture; `kind` is its media type."""

    name: str
    data: bytes
    kind: str


class Found(NamedTuple):
    """The pictures that are sent, the files that there were, and those that were looked at and are no pictures."""

    pictures: list[Picture]
    files: int
    skipped: int


def read(images: list[Path], max_pixels: int) -> Found:
    """Read files, and the files of folders: of many an arbitrary choice, the same each time.

    Raises:
        WrongUse: a path does not exist, a file that was named is no picture, or a folder holds none.
    """
    paths = list(_paths(images))
    chosen: list[Picture] = []
    skipped = size = 0
    for path in random.Random(0).sample(paths, len(paths)):  # noqa: S311 - no secret
        try:
            picture = _read(path, max_pixels)
        except (BadPicture, OSError) as error:
            if path in images:
                raise WrongUse(f"{path}: {_why(error)}") from None
            skipped += 1
            continue
        chosen.append(picture)
        size += len(picture.data)
        if len(chosen) == MOST or size >= MOST_BYTES:
            break
    if not chosen:
        raise WrongUse(f"there is no picture in {', '.join(map(str, images))}; JPEG, PNG and WebP are sent")
    return Found(sorted(chosen), len(paths), skipped)


def _paths(images: list[Path]) -> Iterator[Path]:
    for path in images:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
        elif path.exists():
            yield path
        else:
            raise WrongUse(f"there is no file {path}; give pictures, or folders of pictures")


def _read(path: Path, max_pixels: int) -> Picture:
    data = path.read_bytes()
    pixels.decode(data, 1, 1, 3, max_pixels)
    kind = next((kind for magic, kind in _TYPES if data.startswith(magic)), _JPEG)
    return Picture(path.name, data, kind)


def _why(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)
