"""A SavedModel that was made elsewhere: one of its signatures, between the ends that every model has here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tensorflow.core.protobuf import saved_model_pb2

from artifacts.errors import BadModel
from artifacts.foreign import DTYPES, SCALINGS, Dims, Foreign, Layout, Wanted, short
from exporters.completion import Written
from exporters.frameworks import tf
from exporters.to_onnx import open_onnx, write_onnx
from exporters.to_saved_model import SIGNATURE, open_saved_model, prediction_function, write_saved_model, write_warmup
from exporters.variants import BASE, FILES

# By these a graph reads and writes files or calls Python; TensorFlow's own `saved_model_cli scan` looks for the first.
CODE = {"ReadFile", "WriteFile", "PyFunc", "PyFuncStateless", "EagerPyFunc"}
PROBABILITIES = "probabilities"  # of several outputs, the one of this name is taken
RANKS = (2, 3, 4)  # of a batch of vectors, of grey pictures, of pictures


@dataclass(frozen=True)
class SavedModel:
    """A signature of it: see `artifacts.foreign.Original`."""

    loaded: Any
    signature: Any
    takes: str  # name of the signature's input
    gives: str  # name of its output
    dims: Dims
    dtype: str

    @property
    def scales_itself(self) -> bool:
        """Whether pictures go in as uint8."""
        return self.dtype == "uint8"

    @property
    def parameters(self) -> int:
        """Values of all its variables."""
        return sum(int(np.prod(variable.shape)) for variable in self.signature.variables)

    def run(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """What the signature gives, (N, …), for pictures as it takes them.

        Raises:
            BadModel: it does not take them.
        """
        try:
            return self.signature(**{self.takes: tf.constant(pictures)})[self.gives].numpy()
        except (ValueError, TypeError, tf.errors.OpError) as error:
            shape = pictures.shape[1:]
            raise BadModel(f"the model does not take pictures of shape {shape} ({short(error)})") from error

    def write(self, foreign: Foreign, name: str, pixels: NDArray[np.uint8], folder: Path) -> Written:
        """Write SavedModel and ONNX into `folder`; what runs them, by name.

        Raises:
            BadModel: it cannot be converted.
        """
        adapted = Adapted(self, foreign)
        write_saved_model(adapted, foreign.shape, folder)
        write_warmup(name, pixels, folder)
        try:
            looked = write_onnx(prediction_function(adapted, foreign.shape), folder / FILES[BASE])
        except Exception as error:  # tf2onnx raises whatever an operation that it does not know leads it to
            raise BadModel(f"the SavedModel cannot be converted to ONNX ({short(error)})") from error
        exports = {"SavedModel": open_saved_model(folder), "ONNX": open_onnx(folder / FILES[BASE])}
        return Written(exports, looked)


class Adapted(tf.Module):
    """A SavedModel between the ends of `Foreign`: uint8 (N, H, W, C) -> float32 (N, classes)."""

    def __init__(self, original: SavedModel, foreign: Foreign) -> None:
        super().__init__()
        self.loaded = original.loaded  # so that its variables are saved
        self._original, self._foreign = original, foreign

    def __call__(self, image: tf.Tensor, *, training: bool) -> tf.Tensor:  # noqa: ARG002 - as Keras models are called
        """Probabilities of pictures."""
        x = _laid_out(_scaled(image, self._foreign), self._foreign)
        outputs = self._original.signature(**{self._original.takes: x})[self._original.gives]
        return _probabilities(outputs, self._foreign)


def open_original(path: Path, wanted: Wanted) -> SavedModel:
    """Load the folder of a SavedModel.

    Raises:
        BadModel: it is damaged, brings code that was not allowed, or has no signature from a picture to one output.
    """
    if not wanted.allow_code and (code := code_in(path)):
        raise BadModel(
            f"{path} reads or writes files, or calls Python, when it runs: {', '.join(code)}; "
            "if you trust whoever made it, add --allow-code"
        )
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises whatever the damaged files lead it to
        raise BadModel(f"{path} cannot be loaded ({short(error)}); copy it again") from error
    fitting = {name: ends for name, signature in loaded.signatures.items() if (ends := _ends(signature))}
    if not fitting:
        have = "; ".join(f"{name}: {_described(signature)}" for name, signature in loaded.signatures.items())
        raise BadModel(f"{path} has no signature from one picture to one output; it has: {have or 'none'}")
    name = SIGNATURE if SIGNATURE in fitting else min(fitting)
    takes, gives, spec = fitting[name]
    if spec.shape[0] is not None:
        raise BadModel(f"{path} takes batches of {spec.shape[0]} only; export it again with a free batch dimension")
    return SavedModel(loaded, loaded.signatures[name], takes, gives, tuple(spec.shape[1:]), spec.dtype.name)


def code_in(path: Path) -> list[str]:
    """Operations of the graph that reach out of it, before anything is loaded.

    Raises:
        BadModel: saved_model.pb is damaged.
    """
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise BadModel(f"{path / 'saved_model.pb'} is damaged ({error}); copy it again") from error
    found = set()
    for each in saved.meta_graphs:
        nodes = [each.graph_def.node, *(function.node_def for function in each.graph_def.library.function)]
        found |= {node.op for group in nodes for node in group if node.op in CODE}
    return sorted(found)


def _ends(signature: Any) -> tuple[str, str, tf.TensorSpec] | None:
    """Names of the input and the output, and the input's type; None unless it is one picture in, one answer out."""
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    floats = [name for name, spec in outputs.items() if spec.dtype.is_floating]
    gives = floats[0] if len(floats) == 1 else PROBABILITIES
    if len(inputs) != 1 or gives not in outputs:
        return None
    ((takes, spec),) = inputs.items()
    if spec.dtype.name not in DTYPES or spec.shape.rank not in RANKS:
        return None
    return takes, gives, spec


def _described(signature: Any) -> str:
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    return " -> ".join(
        ", ".join(f"{name} {spec.dtype.name} {spec.shape}" for name, spec in ends.items()) for ends in (inputs, outputs)
    )


def _scaled(image: tf.Tensor, foreign: Foreign) -> tf.Tensor:
    divisor, mean, deviation, bgr = SCALINGS[foreign.scaling]
    x = tf.gather(image, [2, 1, 0], axis=-1) if bgr else image
    if foreign.scaling != "none":
        x = tf.cast(x, tf.float32) / divisor
        x = x - tf.constant(mean, tf.float32) if mean else x
        x = x / tf.constant(deviation, tf.float32) if deviation else x
    return tf.cast(x, foreign.dtype)


def _laid_out(x: tf.Tensor, foreign: Foreign) -> tf.Tensor:
    height, width, channels = foreign.shape
    if foreign.layout is Layout.NCHW:
        return tf.transpose(x, (0, 3, 1, 2))
    if foreign.layout is Layout.NHW:
        return tf.reshape(x, (-1, height, width))
    if foreign.layout is Layout.FLAT:
        return tf.reshape(x, (-1, height * width * channels))
    return x


def _probabilities(outputs: tf.Tensor, foreign: Foreign) -> tf.Tensor:
    one = outputs.shape[1:].num_elements() == 1
    given = tf.cast(tf.reshape(outputs, (-1, 1 if one else len(foreign.labels))), tf.float32)
    if foreign.logits:
        given = tf.sigmoid(given) if one else tf.nn.softmax(given)
    return tf.concat([1 - given, given], axis=1) if one else given
