"""`models/tf_serving.config`, with which TensorFlow Serving serves what the aliases name.

It is a ModelServerConfig in the text format of protocol buffers (TensorFlow Serving's documentation, "Tensorflow
Serving Configuration"; its model_server_config.proto). An alias is a version label there, and the versions to load are
those that have one. Without a label the highest of them answers, so ask for the label `production`.

    tensorflow_model_server --model_config_file=models/tf_serving.config --allow_version_labels_for_unavailable_models

A running server assigns labels before it loads versions (its ServerCore::ReloadConfig). The flag lets it begin with
labels of what is not loaded yet; a label that it has moves only to a version that it has loaded, else it refuses the
whole file and serves on what it had. So a rollback is taken up when it reads the file anew
(--model_config_file_poll_wait_seconds), and a version that no alias named before needs a restart.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from artifacts import files

FILE = "tf_serving.config"
GRAPH = "saved_model.pb"  # a version without it, such as one imported from ONNX, cannot be loaded
PLATFORM = "tensorflow"


class Model(NamedTuple):
    """What is served of a model."""

    name: str
    folder: Path  # absolute, as the server wants it; the versions lie in it
    labels: dict[str, int]  # alias -> version


def write(root: Path, served: Callable[[], Iterable[Model]]) -> None:
    """Write the file of the store in `root`, atomically.

    `served` is called under a lock: of several writers at once, the last one has seen what all of them changed.
    """
    with files.locked(root):
        for part in root.glob(f".{FILE}.*.part"):  # of a writer that was killed
            part.unlink()
        files.write_atomic(root / FILE, config(served()))


def config(models: Iterable[Model]) -> str:
    """The text in ASCII: the same for the same models, in whatever order they and their labels come."""
    listed = "".join(_model(model) for model in sorted(models, key=lambda model: model.name))
    return f"# Written by tintype whenever an alias changes.\nmodel_config_list {{\n{listed}}}\n"


def _model(model: Model) -> str:
    versions = " ".join(f"versions: {version}" for version in sorted(set(model.labels.values())))
    labels = "".join(
        f"    version_labels {{ key: {_quoted(alias)} value: {version} }}\n"
        for alias, version in sorted(model.labels.items())
    )
    return f"""\
  config {{
    name: {_quoted(model.name)}
    base_path: {_quoted(str(model.folder))}
    model_platform: {_quoted(PLATFORM)}
    model_version_policy {{ specific {{ {versions} }} }}
{labels}  }}
"""


def _quoted(text: str) -> str:
    """A string of the text format: bytes that are not printable ASCII in octal, as protocol buffers print them."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(text)) + '"'
