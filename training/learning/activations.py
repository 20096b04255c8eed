"""What the layers do while a network learns: statistics of their activations on a few training pictures.

The "colour dimension" plot is that of J. Howard and S. Gugger, "Deep Learning for Coders with fastai and PyTorch",
2020, chapter 13: a column a moment, a row a bin of the histogram, brighter where more activations are.
"""

from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.typing import NDArray

from training.learning.feed import Examples

NEAR_ZERO = 0.05  # an activation below this tells the next layer nothing
BINS, HIGHEST = 40, 10.0  # of the histograms, from 0
LAYERS = 12  # watched at most, evenly over the depth
COLUMNS = 60  # moments at most
SHARE = 0.015  # of the pictures trained on, which the watching may look at: forward only, so 0.5 % of the work
VALUES = 20_000  # of a layer's activations that are counted
LINEAR = "linear"
NONLINEAR = (keras.layers.ReLU, keras.layers.Activation, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU)


@dataclass
class Activations:
    """R moments of L layers; lists grow while a training runs."""

    layers: list[str]
    batches: list[int] = field(default_factory=list)  # trained before each moment
    means: list[list[float]] = field(default_factory=list)  # (R, L)
    deviations: list[list[float]] = field(default_factory=list)  # (R, L), standard deviations
    near_zero: list[list[float]] = field(default_factory=list)  # (R, L), share of |a| <= NEAR_ZERO
    histograms: list[list[list[int]]] = field(default_factory=list)  # (R, L, BINS) counts from 0 to HIGHEST


def watched(model: keras.Model) -> list[keras.Layer]:
    """The layers that apply a nonlinearity, but for the answer; at most LAYERS, the first and the last among them."""
    found = [layer for layer in model.layers if _nonlinear(layer) and layer.output is not model.output]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(LAYERS, len(found))).round().astype(int)) if found else []
    return [found[place] for place in chosen]


class Watch(keras.callbacks.Callback):
    """Adds a moment to `record` at the beginning and then every `every` batches."""

    def __init__(self, model: keras.Model, examples: Examples, record: Activations, epochs: int, batches: int) -> None:
        """Of a training of `epochs` epochs with `batches` batches each."""
        super().__init__()
        layers = watched(model)
        self.probe = keras.Model(model.input, [layer.output for layer in layers]) if layers else None
        few = 32 if max(model.input_shape[1:3]) <= 64 else 8  # noqa: PLR2004 - large maps take memory
        self.pictures = examples.pixels[np.sort(examples.rows[:: max(1, len(examples) // few)][:few])]
        columns = max(epochs, min(COLUMNS, int(SHARE * len(examples) * epochs / few)))
        self.record, self.batches = record, batches
        self.every = max(1, epochs * batches // columns)
        self.first = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Watch the untrained network."""
        self.first = epoch * self.batches
        if not self.record.batches:
            self._look(0)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Watch when it is time; `batch` is the last one of those that were just trained."""
        done = self.first + min(batch + 1, self.batches)  # the last return to Python may be short of batches
        if done // self.every > self.record.batches[-1] // self.every:
            self._look(done)

    def _look(self, done: int) -> None:
        if hasattr(self.model, "jax_state_sync"):  # on JAX the trainer holds the variables
            self.model.jax_state_sync()
        rows = [statistics(values) for values in self._values()]
        record = self.record
        record.batches.append(done)
        record.means.append([row[0] for row in rows])
        record.deviations.append([row[1] for row in rows])
        record.near_zero.append([row[2] for row in rows])
        record.histograms.append([row[3] for row in rows])

    def _values(self) -> list[NDArray[np.float32]]:
        if self.probe is None:
            return []
        outputs = self.probe(self.pictures, training=False)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return [keras.ops.convert_to_numpy(keras.ops.cast(values, "float32")) for values in outputs]


def statistics(values: NDArray[np.float32]) -> tuple[float, float, float, list[int]]:
    """Mean, standard deviation, share near zero, and histogram of activations of any shape."""
    flat = values.ravel()
    flat = flat[:: max(1, flat.size // VALUES)].astype(np.float64)  # a loss that breaks out overflows float32 squared
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return float("nan"), float("nan"), float("nan"), [0] * BINS
    counts = np.histogram(flat, BINS, (0, HIGHEST))[0]
    return float(flat.mean()), float(flat.std()), float((np.abs(flat) <= NEAR_ZERO).mean()), counts.tolist()


def _nonlinear(layer: keras.Layer) -> bool:
    activation = getattr(layer, "activation", None)
    named = getattr(activation, "__name__", LINEAR)
    return named not in (LINEAR, "softmax", "sigmoid") if activation is not None else isinstance(layer, NONLINEAR)
