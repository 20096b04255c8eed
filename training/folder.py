"""Folders of pictures: `class/*.jpg`, or `train|validation|test/class/*.jpg`.

Every picture goes through `artifacts.pixels.decode`, as it will when the model serves. No link out of the folder is
followed, and no link to a directory at all.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from artifacts import files, pixels
from artifacts.errors import BadData, BadPicture
from training.config import Shape
from training.dataset import PARTS, AtInput, Data

PART_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
SHARES = {"validation": 0.15, "test": 0.15}
# Those that are not read here are tried all the same: they end up in the list of what was skipped, with the reason.
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif"}
UNREADABLE_SHARE = 0.1


class Found(NamedTuple):
    """A picture's path, its class's name, and its part."""

    path: Path
    label: str
    part: str


def read(root: Path, at_input: AtInput) -> Data:
    """Find and decode every picture.

    Raises:
        BadData: no class folders, only one, an empty one, different ones in different parts, too many unreadable files.
    """
    root = root.resolve()
    found = [picture for part, folder in _parts(root) for picture in _classes(folder, part, root)]
    labels = sorted({picture.label for picture in found})
    _check_parts(root, found, labels)
    recipe = at_input(None)
    decoded, outcome = _decode_all(found, recipe.input)
    keep = [position for position, (sha256, _) in enumerate(outcome) if sha256]
    names = [picture.path.relative_to(root).as_posix() for picture in found]
    skipped = [{"file": names[n], "reason": reason} for n, (sha256, reason) in enumerate(outcome) if not sha256]
    _check_readable(root, found, skipped)
    kept = [found[position] for position in keep]
    _check_parts(root, kept, labels)
    return Data(
        recipe=recipe,
        labels=labels,
        pixels=decoded[keep] if skipped else decoded,
        classes=np.array([labels.index(picture.label) for picture in kept], dtype=np.int64),
        files=[names[position] for position in keep],
        sha256=[outcome[position][0] for position in keep],
        parts=np.array([picture.part for picture in kept]),
        shares=SHARES,
        skipped=skipped,
        encode=lambda position: kept[position].path.read_bytes(),
    )


def _parts(root: Path) -> list[tuple[str, Path]]:
    """[("train", folder), …]; a folder that is not divided is all train."""
    folders = {path.name: path for path in _folders(root)}
    given = {name: path for name, path in folders.items() if name in PART_FOLDERS and list(_folders(path))}
    if not given:
        return [("train", root)]
    if "train" not in given:
        raise BadData(f"{root} has {', '.join(given)} and no train; a divided folder needs train/class/*.jpg")
    parts = [(PART_FOLDERS[name], path) for name, path in given.items()]
    if len({part for part, _ in parts}) < len(parts):
        raise BadData(f"{root} has more than one validation folder: {', '.join(given)}; keep one")
    return sorted(parts, key=lambda item: PARTS.index(item[0]))


def _classes(folder: Path, part: str, root: Path) -> Iterator[Found]:
    """The pictures of every class in `folder`, sorted."""
    classes = list(_folders(folder))
    if not classes:
        raise BadData(f"{folder} has no class folders; pictures must lie in one folder a class, such as cat/*.jpg")
    if len(classes) == 1:
        only = classes[0].name
        raise BadData(f"{folder} has only one class folder, {only!r}; at least two are needed to tell them apart")
    for path in classes:
        _check_name(path)
        pictures = [Found(picture, path.name, part) for picture in _pictures(path, root)]
        if not pictures:
            raise BadData(f"the class folder {path} is empty; it must hold pictures, such as {path.name}/*.jpg")
        yield from pictures


def _check_name(folder: Path) -> None:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise BadData(
            f"the name of the class folder {folder!r} is not UTF-8; rename it, for it becomes a label"
        ) from None


def _folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield path


def _pictures(folder: Path, root: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if path.suffix.lower() not in SUFFIXES or entry.name.startswith(".") or not entry.is_file():
                continue
            if not entry.is_symlink() or path.resolve().is_relative_to(root):
                yield path


def _check_parts(root: Path, found: list[Found], labels: list[str]) -> None:
    """Every part that there is has every class."""
    wrong = []
    for part in PARTS:
        present = {picture.label for picture in found if picture.part == part}
        if present and (missing := [label for label in labels if label not in present]):
            wrong.append(f"no readable pictures of {', '.join(missing)} in {part}")
    if wrong:
        raise BadData(f"the parts of {root} differ: {'; '.join(wrong)}; every part must hold the same classes")


def _check_readable(root: Path, found: list[Found], skipped: list[dict[str, str]]) -> None:
    if len(skipped) > UNREADABLE_SHARE * len(found):
        first = skipped[0]
        raise BadData(
            f"{len(skipped)} of {len(found)} pictures in {root} cannot be read, and at most {UNREADABLE_SHARE:.0%} "
            f"may be unreadable; the first is {first['file']}: {first['reason']}"
        )


def _decode_all(found: list[Found], shape: Shape) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
    """Pixels, uint8 (N, *shape), and for each picture its sha256, or "" and the reason why it cannot be read."""
    decoded = np.empty((len(found), *shape), dtype=np.uint8)

    def one(position: int) -> tuple[str, str]:
        try:
            content = found[position].path.read_bytes()
            decoded[position] = pixels.decode(content, *shape).pixels
        except (BadPicture, OSError) as error:
            return "", str(error)
        return files.sha256(content), ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcome = pool.map(one, range(len(found)))
        return decoded, list(tqdm(outcome, "reading pictures", len(found), unit="", disable=None, leave=False))
