"""Runs without a training: a network that begins from nothing, settled on drawn pictures, and all that a run leaves."""

import json

import keras
import numpy as np
from keras import layers

from artifacts import files, pixels
from artifacts.pictures import Pictures
from artifacts.run import Run
from training.evaluate import judge

CELLS = 5  # patches of a drawn picture along a side
LARGER = 1.5  # times the model's input, so that every picture is resized
RIDGE = 1e-3  # of the mean square of a picture's features
LOGIT = 4.0  # that the last layer is taught for the right class


def drawn(shape, classes, count, seed=0):
    """`count` PNG files of smooth patches, a pattern for each class under noise of its own; a class in each turn."""
    patterns = np.random.default_rng(0).uniform(0, 255, (classes, CELLS, CELLS, shape[2]))
    random = np.random.default_rng([seed, 1])
    numbers = np.arange(count) % classes
    size = [round(LARGER * side) for side in shape[:2]]
    encoded = []
    for number in numbers:
        patches = 0.7 * patterns[number] + 0.3 * random.uniform(0, 255, patterns[number].shape)
        encoded.append(pixels.encode_png(pixels.resize(patches.astype(np.uint8), *size)))
    names = [f"{label_of(number)}/{seed}-{place}.png" for place, number in enumerate(numbers)]
    return Pictures(encoded, names, numbers.astype(np.int64))


def label_of(number):
    return f"label {number}"


def settle(model, pictures):
    """Give normalisations weights, and statistics of these pictures; teach the last dense layer to tell them apart."""
    images = pictures.decode(*model.input_shape[1:])
    random = np.random.default_rng(2)
    normalisations = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    before = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.gamma.assign(random.uniform(0.8, 1.2, layer.gamma.shape))
        layer.beta.assign(random.normal(0, 0.1, layer.beta.shape))
        layer.momentum = 0.0  # the statistics become those of the one batch that follows
    model(images, training=True)
    for layer, momentum in zip(normalisations, before, strict=True):
        layer.momentum = momentum
    _teach(model, images, pictures.labels)


def _teach(model, images, classes):
    """Ridge regression of the logits on the features before the last dense layer, if there is one at the end."""
    last = next((layer for layer in reversed(model.layers) if layer.weights), None)
    if not isinstance(last, layers.Dense):
        return
    features = keras.ops.convert_to_numpy(keras.Model(model.input, last.input)(images, training=False))
    known = np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(np.float64)
    wanted = 2 * LOGIT * (np.eye(last.units)[classes] if last.units > 1 else classes[:, None]) - LOGIT
    # In as many unknowns as there are pictures: there may be far more features.
    inner = known @ known.T
    inner += RIDGE * np.trace(inner) / len(inner) * np.eye(len(inner))
    weights = known.T @ np.linalg.solve(inner, wanted)
    last.kernel.assign(weights[:-1])
    last.bias.assign(weights[-1])


def write(path, model, test, training, name="made"):
    """A run of this model, judged on the pictures `test`; `training`: those that int8 is calibrated by."""
    run = Run(path)
    path.mkdir(parents=True)
    labels = [label_of(number) for number in range(model.output_shape[-1])]
    answers = keras.ops.convert_to_numpy(model(test.decode(*model.input_shape[1:]), training=False))
    metrics = judge(answers, test.labels, labels).metrics
    model.save(run.model_file)
    test.part(0, 64).save(run.pictures_file)
    test.save(run.test_pictures_file)
    training.save(run.training_pictures_file)
    run.report_file.write_text("<!doctype html><title>made for a test</title>")
    (path / "config.toml").write_text(f'name = "{name}"\nseed = 0\n')
    files.write_json(path / "labels.json", labels)
    divided = {"train": _entries(training), "validation": [], "test": _entries(test), "skipped": []}
    files.write_json(path / "split.json", {**divided, "digest": files.sha256(json.dumps(divided).encode())})
    files.write_json(path / "metrics.json", {"validation": metrics, "test": metrics})
    return run


def _entries(pictures):
    rows = zip(pictures.names, pictures.encoded, pictures.labels.tolist(), strict=True)
    return [{"file": name, "sha256": files.sha256(data), "label": label_of(number)} for name, data, number in rows]
