"""TensorFlow and what stands on it, started without the messages of its native code: import them from here."""

import os

from artifacts.quiet import native_output_hidden

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only
with native_output_hidden():
    import tensorflow as tf
    import keras  # isort: skip
    import tf2onnx  # isort: skip

__all__ = ["keras", "tf", "tf2onnx"]
