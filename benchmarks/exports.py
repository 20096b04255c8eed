"""Exports: how long they take, and how fast what they make answers, in turns within one run.

python -m benchmarks.exports [--presets resnet20v1 densenet100bc resnet50] [--rounds 5]
python -m benchmarks.exports --home var --models cnn digits@3        int8 and fp16 beside fp32, of exported versions

For each preset a network is trained for one epoch on a few pictures, exported by the command, and asked on all cores:
as ONNX in ONNX Runtime, as SavedModel in TensorFlow, and by `keras.Model.predict`, each at its best batch. All three
are given the same encoded pictures and decode them with `artifacts.pixels`.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.bundle import Bundle, verify
from artifacts.manifest import PRECISIONS
from artifacts.pictures import Pictures
from artifacts.run import Run, find
from artifacts.store import Store, parse
from benchmarks.subject import ROOT, WORK, make_pictures, subset, tintype

PRESETS = ("resnet20v1", "densenet100bc", "resnet50")
BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS = 1.0  # of one way, in one round
TRAINED_EACH = 8  # pictures of a class: speed does not depend on what was learnt
ENOUGH = 2.0  # seconds that a batch may take

Predict = Callable[[NDArray[np.uint8]], Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="*", default=PRESETS)
    parser.add_argument("--rounds", type=int, default=5, help="the median of the rounds counts")
    parser.add_argument("--home", type=Path, default=ROOT / "var", help="of --models")
    parser.add_argument("--models", nargs="*", metavar="NAME[@VERSION]", help="instead of presets")
    arguments = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, median of {arguments.rounds} rounds")
    if arguments.models:
        for name in arguments.models:
            store, reference = Store(arguments.home / "models"), parse(name)
            version = reference.version or store.versions(reference.name)[-1]
            _compare_precisions(verify(store.path(reference.name, version)), arguments.rounds)
        return
    home = WORK / "exports"
    for preset in arguments.presets:
        run = _trained(home, preset)
        began = time.perf_counter()
        tintype(home, "export", str(run.path), "--name", preset, "--json")
        print(f"\n{preset}: exported in {time.perf_counter() - began:.1f} s")
        store = Store(home / "models")
        bundle = verify(store.path(preset, store.versions(preset)[-1]))
        _compare_runtimes(run, bundle, arguments.rounds)
        _compare_precisions(bundle, arguments.rounds)


def _trained(home: Path, preset: str) -> Run:
    done = [each for each in (home / "runs").glob(f"*-{preset}-*") if Run(each).finished]
    if done:
        return Run(done[-1])
    pictures = subset(make_pictures(), WORK / "few", TRAINED_EACH)
    weights = ["--set", "weights=none"] if "resnet50" in preset else []
    tintype(home, "train", str(pictures), "--preset", preset, "--name", preset, "--epochs", "1", *weights, "--json")
    return find(home / "runs", "latest")


def _compare_runtimes(run: Run, bundle: Bundle, rounds: int) -> None:
    """ONNX in ONNX Runtime beside the SavedModel in TensorFlow and `predict` of the Keras model."""
    from exporters.frameworks import keras
    from exporters.to_onnx import open_onnx
    from exporters.to_saved_model import open_saved_model

    model = keras.saving.load_model(run.model_file, compile=False)
    ways: dict[str, Predict] = {
        "ONNX": open_onnx(bundle.variant_file(PRECISIONS[0])),
        "SavedModel": open_saved_model(bundle.path),
        "predict": lambda pixels: model.predict(pixels, verbose=0),
    }
    encoded = Pictures.load(bundle.golden_file).encoded
    best = {name: _best_batch(way, encoded, bundle.shape) for name, way in ways.items()}
    rates = [{name: _rate(ways[name], encoded, bundle.shape, best[name]) for name in ways} for _ in range(rounds)]
    for name in ways:
        ratios = sorted(round_["ONNX"] / round_[name] for round_ in rates)
        rate = statistics.median(round_[name] for round_ in rates)
        told = f"ONNX is {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"  {name:11} {rate:9,.0f} images/s at batch {best[name]:2}   {told if name != 'ONNX' else ''}")


def _compare_precisions(bundle: Bundle, rounds: int) -> None:
    """Every variant beside fp32, each on one thread and on all cores at its best batch; decoded pictures."""
    for variant, why in bundle.manifest.get("left_out", {}).items():
        print(f"  {variant} was left out: {why}")
    pixels = Pictures.load(bundle.golden_file).decode(*bundle.shape)
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        ways = {name: _session(bundle.variant_file(name), threads) for name in bundle.manifest["variants"]}
        best = {
            name: max(BATCHES, key=lambda batch, way=way: _timed(way, pixels[:batch])) for name, way in ways.items()
        }
        rates = [{name: _timed(way, pixels[: best[name]]) for name, way in ways.items()} for _ in range(rounds)]
        for name in ways:
            ratios = sorted(round_[name] / round_[PRECISIONS[0]] for round_ in rates)
            rate = statistics.median(round_[name] for round_ in rates)
            told = f"{statistics.median(ratios):.2f} times fp32 ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(f"  {bundle.name} {name:5} {threads} threads {rate:9,.0f} images/s at batch {best[name]:2}   {told}")


def _session(path: Path, threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["probabilities"], {"image": pixels})


def _timed(way: Predict, pixels: NDArray[np.uint8]) -> float:
    """Images a second of one batch, without decoding."""
    way(pixels)
    runs, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS / 4:
        way(pixels)
        runs += 1
    return runs * len(pixels) / elapsed


def _best_batch(way: Predict, encoded: list[bytes], shape: tuple[int, int, int]) -> int:
    rates = {}
    for batch in BATCHES:
        rates[batch] = _rate(way, encoded, shape, batch)
        if batch / rates[batch] > ENOUGH:
            break
    return max(rates, key=lambda batch: rates[batch])


def _rate(way: Predict, encoded: list[bytes], shape: tuple[int, int, int], batch: int) -> float:
    """Images a second, decoded and answered."""
    pictures = Pictures(encoded[:batch], [""] * batch, np.zeros(batch, np.int64))
    way(pictures.decode(*shape))
    runs, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        way(pictures.decode(*shape))
        runs += 1
    return runs * batch / elapsed


if __name__ == "__main__":
    main()
