"""What a recipe may ask of any architecture against overfitting."""

from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Regularization:
    """`l1` · Σ |w| + `l2` · Σ w² of the kernels in the loss; `dropout`: a share, or None for the architecture's own."""

    l1: float = 0.0
    l2: float = 0.0
    dropout: float | None = None

    def kernel(self) -> keras.Regularizer | None:
        """A new regularizer for one layer's kernel, None where there is no penalty."""
        return keras.regularizers.L1L2(self.l1, self.l2) if self.l1 or self.l2 else None

    def drop(self, own: float) -> float:
        """The share to drop where the architecture drops `own`."""
        return own if self.dropout is None else self.dropout
