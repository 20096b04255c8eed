"""The division into train, validation and test: stratified, seeded, recorded, copies of a picture together."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts import files
from artifacts.errors import BadData, WrongUse
from training.data.dataset import PARTS, Data

Rows = NDArray[np.int64]  # ascending positions in the data
Split = dict[str, Rows]  # part -> its positions


def divide(data: Data, known: Mapping[str, str] | None = None) -> Split:
    """Keep the parts that the data set gives, and cut the missing ones from train, class by class.

    Args:
        data: all pictures.
        known: sha256 -> part, of an earlier division: what was in a part stays in it, and only the others are dealt.

    Raises:
        WrongUse: as `cut_shares`.
        BadData: a class has too few different pictures.
    """
    shares = cut_shares(data)
    rng = np.random.default_rng(data.recipe.seed)
    split: dict[str, list[int]] = {part: np.flatnonzero(data.parts == part).tolist() for part in PARTS}
    pool, split["train"] = np.array(split["train"], dtype=np.int64), []
    # sha256 -> part: of an earlier division, or where a picture also stands under another label
    placed = {digest: part for digest, part in (known or {}).items() if part in shares or part == "train"}
    for label, mine in zip(data.labels, by_class(data, pool), strict=True):
        groups = groups_of_copies(data.sha256, rng.permutation(mine))
        if known:  # first, so that the others are dealt into the room that is left
            groups = dict(sorted(groups.items(), key=lambda each: each[0] not in known))
        room = {part: max(1, round(len(mine) * share)) for part, share in shares.items()}
        for part, positions in _dealt(groups, room, placed, label).items():
            split[part] += positions
    return {part: _rows(positions) for part, positions in split.items()}


def write(data: Data, split: Split) -> str:
    """split.json: which file went where, what was left out, which copies are where they should not be.

    `digest` is a sha256 over the division and the names of what was skipped.
    """
    body = {part: [_entry(data, position) for position in positions.tolist()] for part, positions in split.items()}
    digest = files.sha256(json.dumps([body, [entry["file"] for entry in data.skipped]]).encode())
    more = {"skipped": data.skipped, "leaks": data.leaks, "contradictions": data.contradictions}
    lines = [f'"{key}": [\n{_lines(entries)}\n]' for key, entries in {**body, **more}.items()]
    return "{\n" + ",\n".join(lines) + f',\n"digest": "{digest}"\n}}\n'


def cut_shares(data: Data) -> dict[str, float]:
    """The shares of the parts that have to be cut from train: {"validation": 0.15}.

    Raises:
        WrongUse: the recipe sets the share of a part that the data set itself gives.
    """
    asked = {"validation": data.recipe.validation_share, "test": data.recipe.test_share}
    shares = {}
    for part, share in asked.items():
        if part not in data.parts:
            shares[part] = share or data.shares[part]
        elif share is not None:
            raise WrongUse(f"{part}_share cannot be set: the data set has its own {part} pictures; leave it out")
    return shares


def by_class(data: Data, rows: Rows) -> list[Rows]:
    """`rows` of each class."""
    classes = data.classes[rows]
    order = np.argsort(classes, kind="stable")
    return np.split(rows[order], np.cumsum(np.bincount(classes, minlength=len(data.labels)))[:-1])


def groups_of_copies(sha256: list[str], positions: Rows) -> dict[str, list[int]]:
    """sha256 -> its positions, in the order in which each first occurs."""
    groups: dict[str, list[int]] = {}
    for position in positions.tolist():
        groups.setdefault(sha256[position], []).append(position)
    return groups


def _dealt(
    groups: dict[str, list[int]], room: dict[str, int], placed: dict[str, str], label: str
) -> dict[str, list[int]]:
    """The pictures of one class by part: each group goes to the first part that has room for all of it, else to train.

    A group that `placed` names goes there; the others are added to it.
    """
    _check_enough(groups, room, label)
    parts: dict[str, list[str]] = {part: [] for part in (*room, "train")}
    left = dict(room)
    new = []
    for digest, positions in groups.items():
        if digest in placed:
            part = placed[digest]
        else:
            part = next((part for part, free in left.items() if free >= len(positions)), "train")
            new.append(digest)
        if part in left:
            left[part] -= len(positions)
        parts[part].append(digest)
    _fill_empty(parts, groups, set(new), label)
    placed.update({digest: part for part, digests in parts.items() for digest in digests})
    return {part: [position for digest in digests for position in groups[digest]] for part, digests in parts.items()}


def _fill_empty(parts: dict[str, list[str]], groups: dict[str, list[int]], free: set[str], label: str) -> None:
    """Give a part that got nothing the smallest group, of those that are `free` to move, from the fullest part."""
    for part in [part for part, digests in parts.items() if not digests]:
        donor = max(parts, key=lambda other: len(parts[other]))
        movable = [digest for digest in parts[donor] if digest in free]
        if len(parts[donor]) == 1 or not movable:
            raise BadData(
                f"the class {label!r} cannot be divided: too many of its pictures are copies of those of other classes"
            )
        smallest = min(movable, key=lambda digest: len(groups[digest]))
        parts[donor].remove(smallest)
        parts[part].append(smallest)


def _check_enough(groups: dict[str, list[int]], room: dict[str, int], label: str) -> None:
    if len(groups) <= len(room):
        total = sum(map(len, groups.values()))
        different = "" if total == len(groups) else f", {len(groups)} of them different,"
        *first, last = "train", *room
        into = f"{', '.join(first)} and {last}" if first else last
        raise BadData(
            f"the class {label!r} has {total} pictures{different} to divide into {into}; "
            f"at least {len(room) + 1} are needed"
        )


def _rows(positions: Iterable[int]) -> Rows:
    return np.array(sorted(positions), dtype=np.int64)


def _entry(data: Data, position: int) -> dict[str, str]:
    label = data.labels[data.classes[position]]
    return {"file": data.files[position], "sha256": data.sha256[position], "label": label}


def _lines(entries: list[dict[str, Any]]) -> str:
    return ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
