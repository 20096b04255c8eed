"""Keras and its backend, loaded silently."""

import importlib
import os

from artifacts.quiet import native_output_hidden


def load() -> dict[str, str]:
    """Import Keras: {"keras": "3.15.1", "backend": "tensorflow", "backend_version": "2.21.0"}."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_output_hidden():
        keras = importlib.import_module("keras")
    name = keras.backend.backend()
    library = importlib.import_module(name)
    return {"keras": keras.__version__, "backend": name, "backend_version": library.__version__}
