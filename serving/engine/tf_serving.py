"""A TensorFlow Serving host, asked over gRPC: full precision, on whatever the host has.

The messages are those of `tensorflow-serving-api` (tensorflow_serving/apis/predict.proto, prediction_service.proto).
Their modules import the package `tensorflow` for its messages, and with it all of TensorFlow and Keras: measured at
3.7 s and 730 MB for each process. Only the messages are imported here: 0.15 s and 23 MB.

gRPC does not survive a fork: a runtime is opened in the process that uses it.
"""

import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.bundle import INPUT, OUTPUT, Bundle
from artifacts.errors import TintypeError
from serving.engine.devices import REMOTE
from serving.engine.runtime import BASE, check_golden, finite
from serving.engine.saved_model import SIGNATURE, check_has_graph
from serving.errors import DeadlineExceeded, EngineFailed, NoModel, QueueFull

OPTIONS = (
    ("grpc.max_send_message_length", -1),  # 4 MB by default: 27 pictures of 224 × 224
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # TensorFlow Serving knows no passwords: it has its place in a private network
    ("grpc.max_reconnect_backoff_ms", 1000),  # two minutes by default: so long a host that is back would be left out
)

log = logging.getLogger(__name__)


class TfServingRuntime:
    """One version on the host. `run` may be called from several threads at once (a gRPC channel's calls may)."""

    device = REMOTE

    def __init__(self, bundle: Bundle, host: str, deadline: float) -> None:
        with _without_initialising("tensorflow"):
            import grpc
            from tensorflow.core.framework import types_pb2
            from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_service_pb2_grpc
        self._name = f"{bundle.name}@{bundle.version}"
        self._host = host
        self._deadline = deadline
        self._classes = len(bundle.labels)
        self._request = predict_pb2.PredictRequest
        self._model = model_pb2.ModelSpec(name=bundle.name, signature_name=SIGNATURE)
        self._model.version.value = bundle.version
        self._bytes, self._floats = types_pb2.DT_UINT8, types_pb2.DT_FLOAT
        self._error, self._codes = grpc.RpcError, grpc.StatusCode
        channel = grpc.insecure_channel(host, OPTIONS)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities, float32 (N, classes), of pictures, uint8 (N, height, width, channels).

        Raises:
            NoModel: the host does not answer, or does not serve this version.
            QueueFull: the host has too much to do.
            DeadlineExceeded: no answer came in time.
            EngineFailed: anything else went wrong, or the answer is not one probability a label.
        """
        try:
            response = self._predict(self._asked(pixels), timeout=self._deadline)
        except self._error as error:
            raise self._refusal(error, len(pixels)) from error
        return finite(self._answered(response, len(pixels)))

    def _asked(self, pixels: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - the messages have no types
        request = self._request(model_spec=self._model)
        tensor = request.inputs[INPUT]
        tensor.dtype = self._bytes
        for size in pixels.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = pixels.tobytes()
        return request

    def _answered(self, response: Any, pictures: int) -> NDArray[np.float32]:  # noqa: ANN401 - as above
        if OUTPUT not in response.outputs:
            raise EngineFailed(f"TensorFlow Serving gave {', '.join(response.outputs) or 'nothing'}, not {OUTPUT}")
        tensor = response.outputs[OUTPUT]
        values = tensor.tensor_content or np.array(tensor.float_val, "<f4").tobytes()  # the host may use either
        shape = tuple(dimension.size for dimension in tensor.tensor_shape.dim)
        wanted = (pictures, self._classes)
        if (tensor.dtype, shape, len(values)) != (self._floats, wanted, 4 * pictures * self._classes):
            raise EngineFailed(
                f"TensorFlow Serving must answer float32 of shape {wanted}; it answered {len(values)} bytes of type "
                f"{tensor.dtype} and shape {shape}"
            )
        return np.frombuffer(values, "<f4").reshape(wanted)

    def _refusal(self, error: Any, pictures: int) -> TintypeError:  # noqa: ANN401 - as above
        """What a status of gRPC means to the one who asked; where the host is and what it said is for the log."""
        code = error.code()
        log.warning("TensorFlow Serving at %s: %s for %s: %s", self._host, code.name, self._name, error.details())
        if code == self._codes.UNAVAILABLE:
            return NoModel("TensorFlow Serving (TINTYPE_TF_SERVING) does not answer; try again soon")
        if code in (self._codes.NOT_FOUND, self._codes.FAILED_PRECONDITION):
            return NoModel(
                f"TensorFlow Serving (TINTYPE_TF_SERVING) does not serve {self._name}; start it with "
                "--model_config_file=models/tf_serving.config, and again when an alias names a version new to it"
            )
        if code == self._codes.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"TensorFlow Serving gave no answer within {self._deadline:g} s")
        if code == self._codes.RESOURCE_EXHAUSTED:
            return QueueFull("TensorFlow Serving has too much to do; try again soon")
        return EngineFailed(f"TensorFlow Serving failed on {pictures} pictures ({code.name})")


def open_tf_serving(bundle: Bundle, host: str, deadline: float) -> TfServingRuntime:
    """Prove on the golden pictures that a host answers for a version as the Keras model did.

    Args:
        bundle: an opened version, whose number the host is asked for.
        host: host:port, where TensorFlow Serving answers gRPC.
        deadline: seconds that it may take over one batch.

    Raises:
        BadBundle: the version has no SavedModel, or the host answers otherwise.
        NoModel, QueueFull, DeadlineExceeded: the host does not answer, or does not serve the version.
        ImportError: gRPC or its messages are not installed.
    """
    check_has_graph(bundle)
    runtime = TfServingRuntime(bundle, host, deadline)
    check_golden(bundle, BASE, runtime, of_keras=True)
    return runtime


@contextmanager
def _without_initialising(package: str) -> Iterator[None]:
    """Let modules of a package be imported without what its `__init__` would import besides."""
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None:  # it was imported in full already, or is missing, which the import itself says best
        yield
        return
    bare = ModuleType(package)
    bare.__path__ = spec.submodule_search_locations or []
    sys.modules[package] = bare
    try:
        yield
    finally:
        del sys.modules[package]  # who imports the package itself gets all of it
