"""What lies in a folder of pictures: `class/*.jpg`, or `train|validation|test/class/*.jpg`.

No link out of the folder is followed, and no link to a directory at all.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from artifacts.errors import BadData
from training.data.dataset import PARTS
from training.data.labels import choose, few

PART_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
# Those that are not read here are tried all the same: they end up in the list of what was skipped, with the reason.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")


class Found(NamedTuple):
    """A picture: its name relative to the folder, its class, its part, and what changes when it does."""

    name: str
    label: str
    part: str
    size: int  # bytes
    changed: int  # nanoseconds since 1970


class Listing(NamedTuple):
    """All pictures in the folder's own order, the labels, and sentences about what is left out."""

    pictures: list[Found]
    labels: list[str]
    remarks: list[str]


def find(root: Path, wanted: Iterable[str] | None) -> Listing:
    """The pictures of the `wanted` classes below `root`, an absolute path; of all of them, where None are named.

    Raises:
        BadData: no class folders, only one, an empty one, different ones in different parts.
        WrongUse: classes are wanted that there are not.
    """
    parts = _parts(root)
    classes = {part: _classes(folder) for part, folder in parts}
    known = sorted({path.name for paths in classes.values() for path in paths})
    labels = choose(known, wanted, str(root))
    chosen = set(labels)
    pictures = [
        picture
        for part, paths in classes.items()
        for path in paths
        if path.name in chosen
        for picture in _class(path, part, root)
    ]
    check_parts(root, pictures, labels)
    folders = [path for paths in classes.values() for path in paths if path.name in chosen]
    return Listing(pictures, labels, [*_beside(root, parts), *_inside(folders, root)])


def check_parts(root: Path, pictures: list[Found], labels: list[str], parts: Iterable[str] = ()) -> None:
    """Every part that there is, or that there must be, has every class.

    Raises:
        BadData: one has not.
    """
    present = {part: set[str]() for part in parts}
    for picture in pictures:
        present.setdefault(picture.part, set()).add(picture.label)
    wrong = []
    for part in sorted(present, key=PARTS.index):
        if missing := [label for label in labels if label not in present[part]]:
            others = [other for other in PARTS if set(missing) & present.get(other, set())]
            besides = f" (there are in {' and '.join(others)})" if others else ""
            wrong.append(f"no readable pictures of {few(missing)} in {part}{besides}")
    if wrong and len(present) == 1:
        raise BadData(f"{root} has {wrong[0]}; every class needs some")
    if wrong:
        raise BadData(f"the parts of {root} differ: {'; '.join(wrong)}; every part must hold the same classes")


def _parts(root: Path) -> list[tuple[str, Path]]:
    """[("train", folder), …]; a folder that is not divided is all train."""
    given = {path.name: path for path in _folders(root) if path.name in PART_FOLDERS and _folders(path)}
    if not given:
        return [("train", root)]
    if "train" not in given:
        raise BadData(f"{root} has {', '.join(given)} and no train; a divided folder needs train/class/*.jpg")
    parts = [(PART_FOLDERS[name], path) for name, path in given.items()]
    if len({part for part, _ in parts}) < len(parts):
        raise BadData(f"{root} has more than one validation folder: {', '.join(given)}; keep one")
    return sorted(parts, key=lambda item: PARTS.index(item[0]))


def _classes(folder: Path) -> list[Path]:
    """The class folders in `folder`, sorted."""
    classes = _folders(folder)
    if not classes:
        raise BadData(f"{folder} has no class folders; pictures must lie in one folder a class, such as cat/*.jpg")
    if len(classes) == 1:
        only = classes[0].name
        raise BadData(f"{folder} has only one class folder, {only!r}; at least two are needed to tell them apart")
    for path in classes:
        _check_name(path)
    return classes


def _class(folder: Path, part: str, root: Path) -> Iterator[Found]:
    """The pictures of a class, sorted."""
    begin = folder.relative_to(root).as_posix()
    empty = True
    for name, status in _pictures(folder, root):
        empty = False
        yield Found(f"{begin}/{name}", folder.name, part, status.st_size, status.st_mtime_ns)
    if empty:
        example = f"such as {folder.name}/*.jpg"
        besides = "folders inside it are not read, and no link out of the data is followed"
        raise BadData(f"the class folder {folder} is empty; it must hold pictures, {example} ({besides})")


def _check_name(folder: Path) -> None:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise BadData(
            f"the name of the class folder {folder!r} is not UTF-8; rename it, for it becomes a label"
        ) from None


def _folders(folder: Path) -> list[Path]:
    """The folders in `folder` that are neither links nor hidden, sorted."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def _pictures(folder: Path, root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Name and status of every file that is called a picture, sorted."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                status = _status(entry, root)
                if status:
                    yield entry.name, status


def _status(entry: "os.DirEntry[str]", root: Path) -> os.stat_result | None:
    """Of a regular file, or of one in `root` that a link leads to; None of everything else."""
    try:
        status = entry.stat()
    except OSError:  # a link to nothing, or to itself
        return None
    inside = not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)
    return status if inside and stat.S_ISREG(status.st_mode) else None


def _beside(root: Path, parts: list[tuple[str, Path]]) -> Iterator[str]:
    """A sentence about each place where pictures, or folders, lie beside those that are read."""
    folders = {path for _, path in parts}
    for folder in sorted({root, *folders}):
        names = [name for name, _ in _pictures(folder, root)]
        if names:
            what = "1 picture lies" if len(names) == 1 else f"{len(names):,} pictures lie"
            yield f"left out: {what} directly in {folder}, not in a class folder, such as {names[0]}"
    others = [path.name for path in _folders(root) if path not in folders]
    if root not in folders and others:
        yield f"left out: what lies beside {', '.join(path.name for _, path in parts)} in {root}: {few(others)}"


def _inside(classes: list[Path], root: Path) -> Iterator[str]:
    """A sentence about folders in class folders."""
    nested = [path.relative_to(root).as_posix() for folder in classes for path in _folders(folder)]
    if nested:
        yield f"left out: folders inside class folders: {few(nested)}"
