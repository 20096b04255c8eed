"""Encoded pictures in one `.npz` file without pickle: the held-out ones of a run, the golden ones of a bundle.

Arrays in the file: `data` uint8 (total bytes,), `offsets` int64 (N + 1,), `names` str (N,), `labels` int64 (N,), and
in a bundle `probabilities` float32 (N, classes), the Keras model's answers.
"""

import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import BadBundle
from artifacts.files import write_atomic
from artifacts.pixels import decode

GOLDEN_PICTURES = 64  # kept by a run and proven by the gate; the design asks for at least 16
GOLDEN_BYTES = 16_000_000  # camera photographs are fewer, never under 16


@dataclass(frozen=True)
class Pictures:
    """`encoded`: N whole files; `names`; `labels`: int64 (N,) class numbers; `probabilities`: float32 (N, classes)."""

    encoded: list[bytes]
    names: list[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None = None

    def decode(self, height: int, width: int, channels: int) -> NDArray[np.uint8]:
        """All of them as uint8 (N, height, width, channels)."""
        return np.stack([decode(data, height, width, channels).pixels for data in self.encoded])

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        out = io.BytesIO()
        arrays = {
            "data": np.frombuffer(b"".join(self.encoded), np.uint8),
            "offsets": np.cumsum([0, *map(len, self.encoded)], dtype=np.int64),
            "names": np.array(self.names, dtype=np.str_),
            "labels": np.asarray(self.labels, dtype=np.int64),
        }
        if self.probabilities is not None:
            arrays["probabilities"] = self.probabilities.astype(np.float32)
        np.savez(out, **arrays)  # type: ignore[arg-type]
        write_atomic(path, out.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Pictures":
        """Read the file.

        Raises:
            BadBundle: it is missing or damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                data, offsets = file["data"].tobytes(), file["offsets"]
                encoded = [data[a:b] for a, b in itertools.pairwise(offsets)]
                probabilities = file.get("probabilities")
                return cls(encoded, [str(name) for name in file["names"]], file["labels"], probabilities)
        except Exception as error:  # numpy and zipfile raise whatever the damaged bytes lead them to
            raise BadBundle(f"{path} is not a file of pictures ({error}); export the run again") from error


def representative(labels: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[int]:
    """Positions of up to GOLDEN_PICTURES pictures, labels in turn, within GOLDEN_BYTES (yet at least 16 pictures).

    `labels` and `sizes` (bytes) are int64 (N,); the first pictures of each label are taken.
    """
    seen: dict[int, int] = {}
    turns = []
    for position, label in enumerate(labels.tolist()):
        turns.append((seen.get(label, 0), label, position))
        seen[label] = seen.get(label, 0) + 1
    chosen: list[int] = []
    total = 0
    for _, _, position in sorted(turns)[:GOLDEN_PICTURES]:
        total += int(sizes[position])
        if len(chosen) >= 16 and total > GOLDEN_BYTES:  # noqa: PLR2004 - the design's minimum
            break
        chosen.append(position)
    return chosen
