"""The command where Keras computes with JAX, and TensorFlow cannot be imported."""

import json
import os
import subprocess
import sys

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


def tintype_json(home, *arguments):
    """What a command prints with --json; every module of the training room is imported before."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TINTYPE_HOME": str(home)}
    command = [sys.executable, "-c", SCRIPT, *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
