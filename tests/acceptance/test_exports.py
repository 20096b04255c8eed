"""Every architecture of the presets, with weights that no training made, is exported and proven."""

import re
import sys
import time
from functools import partial

import keras
import pytest

from artifacts.bundle import verify
from artifacts.store import Reference, Store
from exporters.export import export
from exporters.variants import Order
from serving.engine.onnx import check_answers
from tests import networks, runs
from training import models
from training.models import densenet, resnet
from training.models.regularization import Regularization

DESIGNS = [*networks.designs(deep=False), *networks.designs(deep=True)]
FEW, ENOUGH = 24, 200  # pictures: to prove fp32 by, and to judge int8 by
TAUGHT = 128  # pictures, by which the last layer is taught and int8 is calibrated
REASONS = "gives another label than the Keras model on|answers otherwise at batch|lowers the accuracy by"

REDUCED = {
    "densenet40bc": (partial(densenet.densenet_bc, depth=40, growth=12), (32, 32, 3), 10),
    "resnet20v1": (partial(resnet.resnet_v1, depth=20), (32, 32, 3), 10),
    "resnet20v2": (partial(resnet.resnet_v2, depth=20), (32, 32, 3), 10),
    "cnn": (models.MODELS["cnn"], (28, 28, 1), 10),
    "cnn-stride2-bn": (models.MODELS["cnn-stride2-bn"], (28, 28, 1), 10),
    "y-network": (models.MODELS["y-network"], (28, 28, 1), 10),
    "eeg-cnn, one sigmoid unit": (models.MODELS["eeg-cnn"], (100, 16, 1), 2),
    "cats-dogs, one sigmoid unit": (models.MODELS["cats-dogs"], (64, 64, 3), 2),
}


@pytest.fixture(autouse=True)
def forgotten():
    """Keras keeps what was built; of forty networks that is too much."""
    yield
    keras.backend.clear_session()


@pytest.fixture
def told(capsys):
    """`told(sentence)`: written whatever is captured, with the seconds since the test began."""
    started = time.monotonic()

    def tell(sentence):
        with capsys.disabled():
            sys.stdout.write(f"\n    {time.monotonic() - started:6.1f} s  {sentence}")
            sys.stdout.flush()

    return tell


def of(model, folder, taught, test):
    """A run of this network."""
    shape, classes = model.input_shape[1:], model.output_shape[-1]
    training = runs.drawn(shape, classes, taught, seed=1)
    runs.settle(model, training)
    return runs.write(folder / "run", model, runs.drawn(shape, classes, test, seed=2), training)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.model)
def test_a_preset_s_network_is_exported_and_proven_in_full_precision(design, tmp_path, told):
    model = models.build(design.model, design.shape, design.classes, seed=0)
    run = of(model, tmp_path, FEW, FEW)
    told(f"{design.model} built")
    store = Store(tmp_path / "models")
    entry = export(run, store, "made", Order(("fp32",)), lambda _: None).manifest["variants"]["fp32"]
    assert entry["parity"]["pictures"] == FEW
    assert entry["parity"]["max_difference"] <= 1e-4
    assert entry["parity"]["differing_labels"] == 0
    assert store.deploy(Reference("made"), check=check_answers) == 1
    told(f"exported: {entry['parity']['max_difference']:.1e}, {entry['images_per_second']:,.0f} images/s\n")


@pytest.mark.parametrize("family", REDUCED)
def test_a_family_is_served_in_int8_or_the_manifest_says_why_not(family, tmp_path, told):
    build, shape, classes = REDUCED[family]
    keras.utils.set_random_seed(0)
    run = of(build(shape, classes, Regularization()), tmp_path, TAUGHT, ENOUGH)
    told(f"{family} built, accuracy {run.metrics()['test']['accuracy']:.3f}")
    store = Store(tmp_path / "models")
    manifest = export(run, store, "made", Order(("fp32", "int8")), lambda _: None).manifest
    assert set(manifest["variants"]) | set(manifest["left_out"]) == {"fp32", "int8"}
    if "int8" in manifest["variants"]:
        parity = manifest["variants"]["int8"]["parity"]
        assert parity["pictures"] == ENOUGH
        assert parity["agreement"] >= 0.995
        assert parity["accuracy_change"] >= -0.005 - 1e-9  # 0.005 has no exact float
        assert "allowed" not in manifest["variants"]["int8"]
    else:
        assert re.match(f"int8 ({REASONS}) .*[0-9]", manifest["left_out"]["int8"])
    assert set(verify(store.path("made", 1)).manifest["files"]) >= {
        entry["file"] for entry in manifest["variants"].values()
    }
    assert store.deploy(Reference("made"), check=check_answers) == 1
    rates = {name: entry["images_per_second"] for name, entry in manifest["variants"].items()}
    told(manifest["left_out"].get("int8") or f"int8 is {rates['int8'] / rates['fp32']:.2f} times as fast as fp32\n")
