"""Seconds an epoch: Tintype's training beside bare `model.fit` on arrays, in turns within one run.

python -m benchmarks.training [--presets mlp-32 cnn …] [--rounds 3] [--folder cifar10/]

Both train the same network with the same augmentation and optimizer on the same pictures, and count from the second
epoch on. Ours also shuffles by its own seed, watches the activations, writes history, events and a checkpoint. With
--folder, its pictures train `resnet20v1-fast`: bare from arrays, ours from memory, ours from the cache on the disk.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from artifacts.run import Run
from training import backend, config, presets

if TYPE_CHECKING:
    import keras

    from training.learning.feed import Examples

PRESETS = ("mlp-32", "mlp-512", "cnn-small", "cnn", "cnn-stride2-bn", "y-network", "resnet20v1-fast", "cats-dogs")
EPOCHS = 4  # of which the first is not counted: it traces and compiles
SECONDS_OF_WORK = 6e11  # multiplications and additions of an epoch: a few seconds on two cores
FEWEST, MOST = 320, 60_000  # pictures
VALIDATION = 64


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="*", default=PRESETS)
    parser.add_argument("--rounds", type=int, default=3, help="the median of the rounds counts")
    parser.add_argument("--folder", type=Path, help="class/*.jpg or train|validation|test/class/*.jpg")
    arguments = parser.parse_args()
    backend.load()
    print(f"{os.cpu_count()} cores; seconds an epoch, median of {arguments.rounds} rounds\n")
    print(f"{'preset':22} {'pictures':>9} {'bare fit':>9} {'tintype':>9} {'ratio':>7}   ratios of the rounds")
    for name in arguments.presets:
        _compare(name, arguments.rounds)
    if arguments.folder:
        _compare_folder(arguments.folder, arguments.rounds)


def _compare(name: str, rounds: int) -> None:
    from training.learning.feed import Examples
    from training.learning.work import work

    preset = presets.read(name)
    recipe = _short(config.at_input(config.resolve(preset, {}), preset, None))
    count = int(np.clip(SECONDS_OF_WORK / (3 * work(_network(preset, recipe))), FEWEST, MOST))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count + VALIDATION, *recipe.input), dtype=np.uint8)
    classes = rng.integers(0, preset.classes, count + VALIDATION)
    train, validation = (Examples(pixels, classes, rows) for rows in np.split(np.arange(len(pixels)), [count]))
    given = preset, recipe, train, validation
    _print(name, count, [(_bare(*given), _ours(*given)) for _ in range(rounds)])


def _compare_folder(folder: Path, rounds: int) -> None:
    from training.data.sources import load
    from training.learning.feed import Examples

    preset = presets.read("resnet20v1-fast")
    recipe = _short(config.resolve(preset, {"input": preset.input}))
    with tempfile.TemporaryDirectory() as cache:
        whole, stored = (
            load(str(folder), lambda _, megabytes=megabytes: replace(recipe, memory_mb=megabytes), None, Path(cache))
            for megabytes in (recipe.memory_mb, 0)
        )
        rows = np.random.default_rng(0).permutation(len(whole.files))[: 5000 + VALIDATION]
        parts = np.split(rows, [5000])
        bare, memory, disk = [], [], []
        for _ in range(rounds):
            bare.append(_bare(preset, recipe, *(Examples(whole.pixels, whole.classes, part) for part in parts)))
            memory.append(_ours(preset, recipe, *(Examples(whole.pixels, whole.classes, part) for part in parts)))
            disk.append(_ours(preset, recipe, *(Examples(stored.pixels, stored.classes, part) for part in parts)))
    _print("folder, in memory", 5000, list(zip(bare, memory, strict=True)))
    _print("folder, on the disk", 5000, list(zip(bare, disk, strict=True)))


def _short(recipe: config.Recipe) -> config.Recipe:
    """What is measured: no phases, whose layers differ, and no weights from elsewhere."""
    return replace(recipe, epochs=EPOCHS, weights="none", precision=backend.policy(recipe.precision))


def _network(preset: presets.Preset, recipe: config.Recipe) -> "keras.Model":
    from training.run import build

    return build(preset.model, recipe, preset.classes)


def _bare(preset: presets.Preset, recipe: config.Recipe, train: "Examples", validation: "Examples") -> float:
    """Median seconds of an epoch of Keras alone, on arrays."""
    import keras

    from training.learning.augment import augmentation
    from training.learning.loss import cross_entropy

    picture = keras.Input(recipe.input, dtype="uint8")
    model = keras.Sequential([picture, *augmentation(recipe.augment), _network(preset, recipe)])
    chosen = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    options = {"momentum": 0.9, "nesterov": True} if recipe.optimizer == "sgd" else {}
    optimizer = chosen[recipe.optimizer](recipe.learning_rate, **options)
    model.compile(optimizer, cross_entropy(recipe.label_smoothing), metrics=["sparse_categorical_accuracy"])
    ends = [time.perf_counter()]
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))  # noqa: ARG005
    model.fit(
        train.pixels[train.rows],
        train.true,
        batch_size=recipe.batch_size,
        epochs=EPOCHS,
        validation_data=(validation.pixels[validation.rows], validation.true),
        callbacks=[told],
        verbose=0,
    )
    return statistics.median(np.diff(ends)[1:])


def _ours(preset: presets.Preset, recipe: config.Recipe, train: "Examples", validation: "Examples") -> float:
    """Median seconds of an epoch of Tintype."""
    from training.learning.fit import fit

    with tempfile.TemporaryDirectory() as folder:
        told = fit(_network(preset, recipe), train, validation, recipe, run=Run(Path(folder)))
    return statistics.median(row["seconds"] for row in told.history[1:])


def _print(name: str, count: int, times: list[tuple[float, float]]) -> None:
    ratios = [ours / bare for bare, ours in times]
    bare, ours = (statistics.median(column) for column in zip(*times, strict=True))
    shown = " ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"{name:22} {count:9,} {bare:9.2f} {ours:9.2f} {statistics.median(ratios):7.2f}   {shown}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
