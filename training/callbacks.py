"""What happens between the batches: the pace is set, the best weights are kept, the epochs are told."""

import math
import sys
import time

import keras
import numpy as np
from tqdm import tqdm

from training.schedules import Schedule

Logs = dict[str, float]


class Pacer(keras.callbacks.Callback):
    """Sets the learning rate, and the variable `momentum` if there is one, before every batch; keeps all `rates`."""

    def __init__(self, schedule: Schedule, momentum: keras.Variable | None) -> None:
        super().__init__()
        self.schedule, self.momentum = schedule, momentum
        self.batch = 0
        self.rates: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Set the pace of the coming batch."""
        pace = self.schedule(self.batch)
        if hasattr(self.model, "jax_state_sync"):  # on JAX the trainer holds the variables, and would undo the change
            self.model.jax_state_sync()
        self.model.optimizer.learning_rate = pace.rate
        if self.momentum is not None:
            self.momentum.assign(pace.momentum)
        self.rates.append(pace.rate)
        self.batch += 1


class Best(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest validation accuracy; of equals, that with the lowest loss."""

    def __init__(self, kept: keras.Model) -> None:
        super().__init__()
        self.kept = kept
        self.epoch = 0  # from 1; 0 while there is none
        self.score = (-math.inf, -math.inf)
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Keep the weights if they are the best; stop when the loss is no number."""
        logs = logs or {}
        if not all(np.isfinite(list(logs.values()))):
            tqdm.write(f"epoch {epoch + 1}: the loss is no number: training stops", file=sys.stderr)
            self.model.stop_training = True
            return
        score = (logs["val_accuracy"], -logs["val_loss"])
        if score > self.score:
            self.score, self.epoch, self.weights = score, epoch + 1, self.kept.get_weights()


class Progress(keras.callbacks.Callback):
    """A bar while it runs, a line an epoch that stays, and the rows of history.csv in `history`."""

    def __init__(self, epochs: int, batches: int, pacer: Pacer) -> None:
        super().__init__()
        self.epochs, self.pacer = epochs, pacer
        self.history: list[dict[str, float]] = []
        self.bar = tqdm(total=epochs * batches, desc="training", unit=" batches", disable=None, leave=False)
        self.started = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Move the bar."""
        self.bar.update()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the row, write the line."""
        logs = logs or {}
        row = {
            "epoch": epoch + 1,
            **{key: float(logs[key]) for key in ("loss", "accuracy", "val_loss", "val_accuracy")},
            "learning_rate": self.pacer.rates[-1],
            "seconds": time.perf_counter() - self.started,
        }
        self.history.append(row)
        left = sum(past["seconds"] for past in self.history) / len(self.history) * (self.epochs - epoch - 1)
        tqdm.write(_line(row, self.epochs, left), file=sys.stderr)

    def on_train_end(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Take the bar away."""
        self.bar.close()


def _line(row: dict[str, float], epochs: int, left: float) -> str:
    return (
        f"epoch {row['epoch']}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
        f"validation {row['val_accuracy']:.4f}  {row['seconds']:.1f} s, {left:.0f} s left"
    )
