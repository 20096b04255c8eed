"""Keras and its backend, loaded silently."""

import importlib
import os
from collections.abc import Callable
from typing import Any

from artifacts.quiet import native_output_hidden

GPUS: dict[str, Callable[[Any], bool]] = {
    "tensorflow": lambda tensorflow: bool(tensorflow.config.list_physical_devices("GPU")),
    "jax": lambda jax: any(device.platform == "gpu" for device in jax.devices()),
    "torch": lambda torch: torch.cuda.is_available(),
}


def load() -> dict[str, str]:
    """Import Keras: {"keras": "3.15.1", "backend": "tensorflow", "backend_version": "2.21.0"}."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_output_hidden():
        keras = importlib.import_module("keras")
    name = keras.backend.backend()
    library = importlib.import_module(name)
    return {"keras": keras.__version__, "backend": name, "backend_version": library.__version__}


def policy(precision: str) -> str:
    """Keras's name for a recipe's precision; `auto` is mixed_float16 where the loaded backend has a GPU."""
    if precision != "auto":
        return precision
    name = importlib.import_module("keras").backend.backend()
    with native_output_hidden():
        return "mixed_float16" if GPUS[name](importlib.import_module(name)) else "float32"
