"""Keras -> SavedModel, in the layout of a TensorFlow Serving version."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from artifacts.bundle import INPUT, OUTPUT
from exporters.encoded import ENCODED, encoded_function
from exporters.frameworks import tf

SIGNATURE = "serving_default"
WARMUP_PICTURES = 4
WARMUP = Path("assets.extra", "tf_serving_warmup_requests")


def prediction_function(model: Any, shape: tuple[int, int, int]) -> Any:
    """A tf.function: `image` uint8 (N, height, width, channels) -> {"probabilities": float32 (N, classes)}."""
    signature = tf.TensorSpec((None, *shape), tf.uint8, name=INPUT)

    @tf.function(input_signature=[signature])
    def predict(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: model(image, training=False)}

    return predict


def write_saved_model(model: Any, shape: tuple[int, int, int], folder: Path) -> None:
    """Write `saved_model.pb` and `variables/` into `folder`, with the signatures `serving_default` and `encoded`.

    Raises:
        OSError: the disk is full.
    """
    holder = tf.Module()
    holder.model = model
    holder.predict = prediction_function(model, shape)
    holder.encoded = encoded_function(holder.predict, shape)
    signatures = {SIGNATURE: holder.predict, ENCODED: holder.encoded}
    try:
        tf.saved_model.save(holder, str(folder), signatures=signatures)
    except tf.errors.ResourceExhaustedError as error:  # what TensorFlow makes of a full disk
        raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from error
    # A fingerprint of one save, which TensorFlow Serving does not read; the manifest seals the files instead.
    (folder / "fingerprint.pb").unlink(missing_ok=True)


def write_warmup(name: str, pixels: NDArray[np.uint8], folder: Path) -> None:
    """Write warm-up requests, a TFRecord file of PredictionLog: one for each of the first of `pixels`, (N, H, W, C).

    See "SavedModel Warmup" in TensorFlow Serving's documentation.
    """
    path = folder / WARMUP
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for picture in pixels[:WARMUP_PICTURES]:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = SIGNATURE
            request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(picture[None]))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def open_saved_model(folder: Path) -> Any:
    """A function from uint8 (N, H, W, C) to float32 (N, classes) that runs the SavedModel's signature."""
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[SIGNATURE]

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return signature(**{INPUT: tf.constant(pixels)})[OUTPUT].numpy()

    predict.loaded = loaded  # type: ignore[attr-defined] # a signature does not keep its model's variables alive
    return predict
