"""Which pictures two versions are compared on: held out of the candidate's data, and new to the version in production.

    the candidate's held-out pictures
    without: those of the version in production      without: golden pictures of either, if somebody has labelled them

Pictures that the other version has learnt from are left out, for on those it looks better than it is.
"""

from dataclasses import dataclass, field

import numpy as np

from artifacts.bundle import Bundle
from artifacts.held_out import HeldOut
from artifacts.pictures import LEAST, Pictures


@dataclass(frozen=True)
class Chosen:
    """N pictures: `encoded`, their `names`, and what they show, `truth`; `source`: where they come from."""

    encoded: list[bytes]
    names: list[str]
    truth: list[str]
    source: str
    left_out: int = 0  # which the other version has learnt from
    remarks: list[str] = field(default_factory=list)  # sentences

    def __len__(self) -> int:
        return len(self.encoded)

    def part(self, end: int) -> "Chosen":
        """The first of them."""
        return Chosen(
            self.encoded[:end], self.names[:end], self.truth[:end], self.source, self.left_out, self.remarks
        )  # fmt: skip


def choose(candidate: Bundle, current: Bundle | None) -> Chosen:
    """The pictures for a candidate and what is in production; none, where nobody has labelled any.

    Raises:
        BadBundle: they are damaged.
    """
    versions = [candidate] if current is None else [candidate, current]
    for number, version in enumerate(versions):
        if (held_out := HeldOut.load(version)) and len(held_out.pictures.encoded):
            others = versions[:number] + versions[number + 1 :]
            return _unseen(version, held_out, others[0] if others else None)
    for version in versions:
        golden = Pictures.load(version.golden_file)
        if labelled := np.flatnonzero(golden.labels >= 0).tolist():
            remark = f"{_told(version)} carries no held-out pictures, only its {len(labelled)} golden ones"
            return _chosen(version, golden, labelled, f"golden pictures of {_told(version)}", 0, [remark])
    return Chosen([], [], [], "no labelled pictures")


def _unseen(version: Bundle, held_out: HeldOut, other: Bundle | None) -> Chosen:
    """Those that the other version has not learnt from; all of them, where too few are left."""
    source = f"held-out pictures of {_told(version)}"
    everything = list(range(len(held_out.keys)))
    theirs = HeldOut.load(other) if other else None
    if other is None or theirs is None:
        return _chosen(version, held_out.pictures, everything, source, 0, [])
    new = np.flatnonzero(~np.isin(held_out.keys, theirs.seen)).tolist()
    seen = len(everything) - len(new)
    if len(new) < LEAST <= len(everything) or not new:
        remark = (
            f"{_told(other)} has learnt from {seen} of them, and too few are left without: it looks better than it is"
        )
        return _chosen(version, held_out.pictures, everything, source, 0, [remark])
    return _chosen(version, held_out.pictures, new, source, seen, [])


def _chosen(  # noqa: PLR0913, PLR0917 - the fields of one record
    version: Bundle, pictures: Pictures, rows: list[int], source: str, left_out: int, remarks: list[str]
) -> Chosen:
    labels = version.labels
    truth = [labels[number] for number in pictures.labels[rows].tolist()]
    return Chosen(
        [pictures.encoded[n] for n in rows], [pictures.names[n] for n in rows], truth, source, left_out, remarks
    )


def _told(version: Bundle) -> str:
    return f"{version.name}@{version.version}"
