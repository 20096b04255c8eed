"""A run becomes a bundle: SavedModel and ONNX, proven equal to the Keras model before anyone can see them.

This room alone needs TensorFlow.
"""

import os

from artifacts.quiet import native_output_hidden

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only
with native_output_hidden():
    import tensorflow as tf  # noqa: F401 - here, so that it starts quietly whichever file comes first
