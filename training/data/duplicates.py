"""Pictures that occur more than once, byte for byte: found by their sha256."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from training.data.dataset import PARTS, Data


def noted(data: Data) -> Data:
    """`data` with its leaks, its contradictions, and what is to be said of them."""
    copies = twins(data.sha256)
    parts, classes = data.parts.tolist(), data.classes.tolist()
    leaks = _entries(data, copies, lambda position: parts[position])
    contradictions = _entries(data, copies, lambda position: classes[position])
    remarks = list(data.remarks)
    if leaks:
        why = "a leak, which flatters the figures; split.json lists all"
        remarks.append(f"in more than one part: {_counted(leaks)}: {why}")
    if contradictions:
        why = "one of the labels is wrong; split.json lists all"
        remarks.append(f"under more than one label: {_counted(contradictions)}: {why}")
    if copies and set(parts) != set(PARTS):
        every = [_entry(data, positions) for positions in copies]
        remarks.append(f"more than once: {_counted(every)}; those cut from train are put into the same part")
    return replace(data, leaks=leaks, contradictions=contradictions, remarks=remarks)


def twins(sha256: list[str]) -> list[list[int]]:
    """The positions of each content that occurs more than once, ascending."""
    first: dict[str, int] = {}
    found: dict[str, list[int]] = {}
    for position, digest in enumerate(sha256):
        if digest in first:
            found.setdefault(digest, [first[digest]]).append(position)
        else:
            first[digest] = position
    return list(found.values())


def _entries(data: Data, copies: list[list[int]], differ: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Of those copies that `differ` tells apart."""
    return [_entry(data, positions) for positions in copies if len({differ(position) for position in positions}) > 1]


def _entry(data: Data, positions: list[int]) -> dict[str, Any]:
    return {
        "sha256": data.sha256[positions[0]],
        "files": [data.files[position] for position in positions],
        "labels": [data.labels[data.classes[position]] for position in positions],
    }


def _counted(entries: list[dict[str, Any]]) -> str:
    noun = "picture" if len(entries) == 1 else "pictures"
    first = entries[0]["files"]
    return f"{len(entries):,} {noun}, such as {first[0]} and {first[-1]}"
