"""Folders of pictures: every picture goes through `artifacts.pixels.decode`, as it will when the model serves."""

from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from artifacts import files, pixels
from artifacts.errors import BadData, BadPicture
from training.config import Recipe, Shape
from training.data import cache, decoding, listing
from training.data.dataset import AtInput, Data
from training.data.listing import Found, Listing

SHARES = {"validation": 0.15, "test": 0.15}
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WebP"}


def read(
    root: Path, at_input: AtInput, kept: Path, native: Shape | None = None, labels: list[str] | None = None
) -> Data:
    """Find and decode every picture.

    Args:
        root: the folder, as `training.data.listing` wants it.
        at_input: decides the input.
        kept: the folder for decoded pictures that do not fit in memory.
        native: the shape of all pictures, where it is known.
        labels: the classes that are read, unless the recipe names some.

    Raises:
        BadData: as `listing.find`; too many unreadable files.
        WrongUse: the recipe names classes that there are not.
        TintypeError: the decoded pictures do not fit on the disk.
    """
    root = root.resolve()
    recipe = at_input(native)
    found = listing.find(root, recipe.labels or labels)
    pictures = found.pictures
    place = cache.place(kept, str(root), found.labels, ([each.name, each.size, each.changed] for each in pictures))
    one = partial(_one, root, pictures, recipe.input)
    decoded = decoding.decoded(one, len(pictures), recipe.input, recipe.memory_mb, place)
    _check_readable(root, found, decoded, recipe)
    return _data(root, recipe, found, decoded)


def _one(root: Path, pictures: list[Found], shape: Shape, position: int) -> decoding.Outcome:
    try:
        content = (root / pictures[position].name).read_bytes()
        return decoding.Outcome(pixels.decode(content, *shape).pixels, files.sha256(content))
    except BadPicture as error:
        return decoding.Outcome(None, "", str(error))
    except OSError as error:
        return decoding.Outcome(None, "", str(error), passing=True)


def _check_readable(root: Path, found: Listing, decoded: decoding.Decoded, recipe: Recipe) -> None:
    """Few enough are unreadable, and every part still has every class."""
    unreadable = [position for position, sha256 in enumerate(decoded.sha256) if not sha256]
    total = len(found.pictures)
    if len(unreadable) > recipe.unreadable_share * total:
        first = f"{found.pictures[unreadable[0]].name}: {decoded.reasons[unreadable[0]]}"
        raise BadData(
            f"{len(unreadable):,} of {total:,} pictures in {root} cannot be read, and at most "
            f"{100 * recipe.unreadable_share:.3g}% may be unreadable (unreadable_share); the first is {first}"
        )
    readable = [picture for picture, sha256 in zip(found.pictures, decoded.sha256, strict=True) if sha256]
    listing.check_parts(root, readable, found.labels, {picture.part for picture in found.pictures})


def _data(root: Path, recipe: Recipe, found: Listing, decoded: decoding.Decoded) -> Data:
    """The readable ones, and a list of the others."""
    numbers = {label: number for number, label in enumerate(found.labels)}
    outcomes = list(zip(found.pictures, decoded.sha256, decoded.reasons, strict=True))
    readable = [picture for picture, sha256, _ in outcomes if sha256]
    names = [picture.name for picture in readable]
    return Data(
        recipe=recipe,
        labels=found.labels,
        pixels=decoded.pixels,
        classes=np.array([numbers[picture.label] for picture in readable], dtype=np.int64),
        files=names,
        sha256=[sha256 for _, sha256, _ in outcomes if sha256],
        parts=np.array([picture.part for picture in readable]),
        shares=SHARES,
        skipped=[{"file": picture.name, "reason": reason} for picture, sha256, reason in outcomes if not sha256],
        encode=lambda position: (root / names[position]).read_bytes(),
        formats=dict(Counter(map(_format, names))),
        remarks=[*found.remarks, *_kept_on_disk(decoded)],
    )


def _format(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return FORMATS.get(suffix, suffix.removeprefix(".").upper())


def _kept_on_disk(decoded: decoding.Decoded) -> list[str]:
    if not isinstance(decoded.pixels, np.memmap):
        return []
    where = Path(str(decoded.pixels.filename)).parent
    size = cache.size(decoded.pixels.nbytes)
    return [f"the decoded pictures, {size}, are more than memory_mb allows: they lie in {where}, which may be deleted"]
