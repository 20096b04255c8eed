"""What comes back through a lane."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Answer(NamedTuple):
    """The probabilities of one request, and how it came by them."""

    probabilities: NDArray[np.float32]  # (N, classes)
    variant: str
    wait: float  # seconds from the lane's door to the engine
    infer: float  # seconds in the runtime, together with the rest of its batch
    batch: int  # pictures in that batch


def joined(pieces: list[Answer]) -> Answer:
    """The answer of a request that was cut into pieces, from theirs, in order."""
    if len(pieces) == 1:
        return pieces[0]
    return Answer(
        np.concatenate([piece.probabilities for piece in pieces]),
        pieces[0].variant,
        min(piece.wait for piece in pieces),
        sum(piece.infer for piece in pieces),
        max(piece.batch for piece in pieces),
    )
