"""The training room runs without TensorFlow, on another backend of Keras."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.real import ROOT

SCRIPT = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras", "tensorboard"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import training
for module in pkgutil.walk_packages(training.__path__, "training."):
    importlib.import_module(module.name)
import tintype
code = tintype.main(sys.argv[1:])
assert "tensorflow" not in sys.modules
sys.exit(code)
"""


@pytest.fixture(scope="module")
def jax_run(tmp_path_factory):
    home = tmp_path_factory.mktemp("jax")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TINTYPE_HOME": str(home)}
    arguments = ["train", "digits", "--preset", "digits", "--epochs", "2", "--set", "plateau=1", "--json"]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_jax_trains_the_same_preset(jax_run):
    assert jax_run["metrics"]["test"]["accuracy"] > 0.8


def test_its_model_answers_the_same_under_tensorflow(jax_run):
    import keras

    from artifacts.pictures import Pictures
    from artifacts.run import find

    run = find(ROOT, jax_run["run"])
    assert run.config()["backend"] == "jax"
    held_out = Pictures.load(run.pictures_file)
    model = keras.saving.load_model(run.model_file)
    predicted = model.predict(held_out.decode(*model.input_shape[1:]), verbose=0).argmax(1)
    assert (predicted == held_out.labels).mean() == pytest.approx(jax_run["metrics"]["test"]["accuracy"], abs=0.15)
    assert np.isfinite(model.get_weights()[0]).all()
