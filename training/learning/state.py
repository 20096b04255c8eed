"""What a training has come to after its last whole epoch; all that a resume needs but the network's own variables."""

from dataclasses import dataclass, field

import numpy as np

from training.learning.activations import Activations

Row = dict[str, float]  # epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds


@dataclass
class State:
    """Grows with every epoch."""

    activations: Activations
    history: list[Row] = field(default_factory=list)
    best_epoch: int = 0  # from 1; 0 while there is none
    best_weights: list[np.ndarray] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    def best_score(self) -> tuple[float, float]:
        """Validation accuracy and negated loss of the best epoch; of equal accuracies, the lower loss is better."""
        if not self.best_epoch:
            return (float("-inf"), float("-inf"))
        row = self.history[self.best_epoch - 1]
        return row["val_accuracy"], -row["val_loss"]
