"""Encoded pictures in one `.npz` file without pickle: those that a run keeps, and the golden ones of a bundle.

Arrays in the file: `data` uint8 (total bytes,), `offsets` int64 (N + 1,), `names` str (N,), `labels` int64 (N,), and
in a bundle `probabilities` float32 (N, classes), the Keras model's answers, and `answers/int8` and the like, of the
same shape, those of variants that answer otherwise than it.
"""

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import BadBundle
from artifacts.files import write_atomic
from artifacts.pixels import decode

GOLDEN_PICTURES = 64  # the design asks for at least 16
TEST_PICTURES = 10_000  # that the gate can judge reduced precision by
TRAINING_PICTURES = 256  # that int8 is calibrated by
MOST_BYTES = 16_000_000  # camera photographs are fewer, never under LEAST
LEAST = 16
ANSWERS = "answers/"  # before the name of a variant


@dataclass(frozen=True)
class Pictures:
    """`encoded`: N whole files; `names`; `labels`: int64 (N,) class numbers; `probabilities`: float32 (N, classes).

    `answers`: by variant, float32 (N, classes), where they are not those of `probabilities`.
    """

    encoded: list[bytes]
    names: list[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None = None
    answers: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def part(self, start: int, end: int) -> "Pictures":
        """Those from `start` to before `end`, without the answers."""
        return Pictures(self.encoded[start:end], self.names[start:end], self.labels[start:end])

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
        arrays |= {f"{ANSWERS}{variant}": given.astype(np.float32) for variant, given in self.answers.items()}
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
                answers = {name.removeprefix(ANSWERS): file[name] for name in file.files if name.startswith(ANSWERS)}
                return cls(encoded, [str(name) for name in file["names"]], file["labels"], probabilities, answers)
        except Exception as error:  # numpy and zipfile raise whatever the damaged bytes lead them to
            raise BadBundle(f"{path} is not a file of pictures ({error}); export the run again") from error


def representative(
    labels: NDArray[np.int64], size: Callable[[int], int], most: int = GOLDEN_PICTURES, most_bytes: int = MOST_BYTES
) -> list[int]:
    """Positions of up to `most` pictures, labels in turn, within `most_bytes` (yet at least LEAST pictures).

    `labels` are int64 (N,), `size` gives the bytes of the picture at a position; the first pictures of each label are
    taken. Fewer are always the beginning of more.
    """
    seen: dict[int, int] = {}
    turns = []
    for position, label in enumerate(labels.tolist()):
        turns.append((seen.get(label, 0), label, position))
        seen[label] = seen.get(label, 0) + 1
    chosen: list[int] = []
    total = 0
    for _, _, position in sorted(turns)[:most]:
        total += size(position)
        if len(chosen) >= LEAST and total > most_bytes:
            break
        chosen.append(position)
    return chosen
