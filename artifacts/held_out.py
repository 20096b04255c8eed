"""The pictures of a version by which it is compared with others: labelled, and not learnt from.

    held_out.npz     some of the test part, encoded (as `artifacts.pictures` writes them)
    data_keys.npz    `held_out`, uint64 (N,): a key of each of those; `training`, uint64 (M,): of what was learnt from

A key is the beginning of a picture's sha256 in the data set. By the keys, pictures that another version has learnt
from are told apart: on those it looks better than it is.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.bundle import Bundle
from artifacts.errors import BadBundle
from artifacts.files import write_atomic
from artifacts.pictures import Pictures

PICTURES_FILE, KEYS_FILE = "held_out.npz", "data_keys.npz"
MOST = 2_000  # pictures
MOST_BYTES = 8_000_000  # of them, encoded; camera photographs are fewer
MOST_KEYS = 1_000_000  # of the training pictures: 8 MB
REQUIREMENT = "accuracy >= current - 0.005"  # of a candidate on them, unless a person says otherwise
_DIGITS = 16  # of a sha256: 64 bits

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class HeldOut:
    """`pictures`: N with labels that are known; `keys`: uint64 (N,); `seen`: uint64 (M,), of what was learnt from."""

    pictures: Pictures
    keys: Keys
    seen: Keys

    @classmethod
    def of(cls, pictures: Pictures, division: dict[str, Any]) -> "HeldOut":
        """The first of a run's test pictures, as many as are kept, with the keys out of its split.json."""
        within = np.cumsum([len(data) for data in pictures.encoded]) <= MOST_BYTES
        kept = np.flatnonzero(within & (pictures.labels >= 0))[:MOST]
        chosen = Pictures([pictures.encoded[n] for n in kept], [pictures.names[n] for n in kept], pictures.labels[kept])
        known = {entry["file"]: entry["sha256"] for entry in division.get("test", [])}
        seen = (entry["sha256"] for entry in division.get("train", [])[:MOST_KEYS])
        return cls(chosen, _keys(known.get(name, "0") for name in chosen.names), np.unique(_keys(seen)))

    def save(self, folder: Path) -> None:
        """Write both files."""
        self.pictures.save(folder / PICTURES_FILE)
        out = io.BytesIO()
        np.savez(out, held_out=self.keys, training=self.seen)
        write_atomic(folder / KEYS_FILE, out.getvalue())

    @classmethod
    def load(cls, bundle: Bundle) -> "HeldOut | None":
        """Those of a version; None where it was exported without.

        Raises:
            BadBundle: they are damaged.
        """
        if PICTURES_FILE not in bundle.manifest["files"]:
            return None
        pictures, path = Pictures.load(bundle.path / PICTURES_FILE), bundle.path / KEYS_FILE
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                keys, seen = file["held_out"].astype(np.uint64), file["training"].astype(np.uint64)
        except Exception as error:  # numpy and zipfile raise whatever the damaged bytes lead them to
            raise BadBundle(f"{path} is not a file of keys ({error}); export the run again") from error
        outside = (pictures.labels < 0) | (pictures.labels >= len(bundle.labels))
        if len(keys) != len(pictures.encoded) or len(pictures.labels) != len(keys) or outside.any():
            raise BadBundle(f"{bundle.path / PICTURES_FILE} does not go with {KEYS_FILE} and the labels; export again")
        return cls(pictures, keys, seen)


def _keys(digests: Iterable[str]) -> Keys:
    return np.array([int(digest[:_DIGITS], 16) for digest in digests], dtype=np.uint64)
