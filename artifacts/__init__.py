"""Floor 0: the papers that pass from room to room. Standard library, numpy and Pillow only."""

import os

# ONNX Runtime records what it runs on, with an id of the machine, below the home folder as soon as it is imported.
# Every room comes through here first, and its child processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
