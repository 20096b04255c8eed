"""What happens between the batches: the best weights are kept, the epochs are told, a hopeless training is stopped."""

import csv
import io
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from artifacts.files import write_atomic
from training.learning.feed import Feed
from training.learning.state import Row, State

Logs = dict[str, float]

PLATEAU_FACTOR, PLATEAU_FLOOR = math.sqrt(0.1), 5e-7  # R. Atienza, "Advanced Deep Learning with Keras", chapter 2


class Order(keras.callbacks.Callback):
    """Puts the examples into the order of each epoch."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed = feed

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Shuffle."""
        self.feed.shuffle(epoch)


class Best(keras.callbacks.Callback):
    """Keeps the history, and the weights of the epoch with the highest validation accuracy; stops at no number."""

    def __init__(self, kept: keras.Model, state: State, rates: list[float], batches: int) -> None:
        """Of the network `kept` inside what is trained; `rates` of every batch of the whole training."""
        super().__init__()
        self.kept, self.state, self.rates, self.batches = kept, state, rates, batches
        self.started = time.perf_counter()

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Start the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the row, and keep the weights if they are the best.

        An epoch's seconds run from the end of the one before, so that its checkpoint and all the rest are in them.
        """
        figures = {key: float(value) for key, value in (logs or {}).items()}
        if not all(map(math.isfinite, figures.values())):
            tqdm.write(f"epoch {epoch + 1}: the loss is no number: training stops", file=sys.stderr)
            self.model.stop_training = True
            return
        now = time.perf_counter()
        slowdown = float(self.model.optimizer.slowdown)
        best = self.state.best_score()
        self.state.history.append(
            {
                "epoch": epoch + 1,
                **{key: figures[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy")},
                "learning_rate": self.rates[(epoch + 1) * self.batches - 1] * slowdown,
                "seconds": now - self.started,
            }
        )
        self.started = now
        if (figures["val_accuracy"], -figures["val_loss"]) > best:
            self.state.best_epoch, self.state.best_weights = epoch + 1, self.kept.get_weights()


class EarlyStopping(keras.callbacks.Callback):
    """Stops after `patience` epochs without a better one."""

    def __init__(self, state: State, patience: int) -> None:
        super().__init__()
        self.state, self.patience = state, patience

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Stop, if it is time."""
        if exhausted(self.state, self.patience):
            self.model.stop_training = True


def exhausted(state: State, patience: int) -> str:
    """Why a training should stop now, or nothing; a `patience` of 0 never ends."""
    if not patience or state.epoch - state.best_epoch < patience:
        return ""
    return f"no epoch was better than epoch {state.best_epoch} for {patience} epochs"


class Plateau(keras.callbacks.Callback):
    """Multiplies the rate by PLATEAU_FACTOR after `patience` epochs without a lower validation loss."""

    def __init__(self, state: State, patience: int, highest: float) -> None:
        super().__init__()
        self.state, self.patience, self.least = state, patience, PLATEAU_FLOOR / highest

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Set the factor that the whole history leads to; so a resume needs no memory of its own."""
        falls = plateaus([row["val_loss"] for row in self.state.history], self.patience)
        self.model.optimizer.slowdown.assign(max(PLATEAU_FACTOR**falls, self.least))


def plateaus(losses: list[float], patience: int) -> int:
    """How often `patience` losses in a row were not lower than the lowest one before them."""
    best, waited, falls = math.inf, 0, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited >= patience:
            falls, waited = falls + 1, 0
    return falls


class Progress(keras.callbacks.Callback):
    """A bar with loss, accuracy and the time left, and a line an epoch that stays; to be closed however it ends."""

    def __init__(self, state: State, epochs: int, batches: int, title: str) -> None:
        super().__init__()
        self.state, self.epochs = state, epochs
        self.first = state.epoch * batches
        self.batches = batches
        self.bar = tqdm(
            total=epochs * batches, initial=self.first, desc=title, unit=" batches", disable=None, leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} batches, {remaining} left{postfix}",
        )  # fmt: skip

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the bar; `batch` counts from 0 in every epoch."""
        if self.bar.disable:
            return
        self.bar.set_postfix_str(_figures(logs or {}), refresh=False)
        self.bar.update(self.state.epoch * self.batches + batch + 1 - self.bar.n)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Write the line."""
        if self.state.epoch == epoch + 1:
            tqdm.write(_line(self.state.history, self.epochs), file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()


class History(keras.callbacks.Callback):
    """Writes history.csv and the events for TensorBoard after every epoch, so that a training can be followed.

    To be closed however the training ends: Keras tells callbacks only of an end without an error.
    """

    def __init__(self, folder: Path, state: State) -> None:
        super().__init__()
        from tensorboardX import SummaryWriter

        self.folder, self.state = folder, state
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=state.epoch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002
        """Add a row."""
        if self.state.epoch != epoch + 1:
            return
        row = self.state.history[-1]
        for key in ("loss", "accuracy"):
            self.writer.add_scalar(f"train/{key}", row[key], epoch + 1)
            self.writer.add_scalar(f"validation/{key}", row[f"val_{key}"], epoch + 1)
        self.writer.add_scalar("learning_rate", row["learning_rate"], epoch + 1)
        self.writer.flush()
        write_atomic(self.folder / "history.csv", table(self.state.history))

    def close(self) -> None:
        """Close the file of events; its thread would complain at the end of the process."""
        self.writer.close()


def table(history: list[Row]) -> str:
    """The rows as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, history[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in history)
    return out.getvalue()


def _figures(logs: Logs) -> str:
    return f"loss {float(logs['loss']):.4f}, accuracy {float(logs['accuracy']):.4f}" if "loss" in logs else ""


def _line(history: list[Row], epochs: int) -> str:
    row = history[-1]
    left = float(np.mean([past["seconds"] for past in history])) * (epochs - len(history))
    return (
        f"epoch {row['epoch']}/{epochs}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
        f"validation {row['val_accuracy']:.4f}  {row['seconds']:.1f} s, {left:.0f} s left"
    )
