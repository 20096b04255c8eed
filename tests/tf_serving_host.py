"""A host that answers as TensorFlow Serving does: its PredictionService over gRPC, and the SavedModels of a store.

    python -m tests.tf_serving_host MODELS PORT CONTROL

TensorFlow Serving itself is a program that no Python package brings. The file CONTROL is read at every request; it has
the name of a gRPC status to answer with, or of one of FAULTS, or nothing.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

FAULTS = {
    "floats": lambda given: given,  # in float_val, as the server does by default, not in tensor_content
    "hang": lambda given: given,  # and never answer
    "nothing": lambda given: given,  # and leave it out
    "nan": lambda given: given * float("nan"),
    "reversed": lambda given: given[:, ::-1],
    "transposed": lambda given: given.T,
    "wide": lambda given: given.astype("f8"),
}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models, control):
        self._models = models
        self._control = control
        self._open = cache(lambda path: tf.saved_model.load(str(path)))
        self._asked = control.with_suffix(".asked")

    def Predict(self, request, context):  # noqa: N802 - the service has it so
        told = self._control.read_text().strip() if self._control.exists() else ""
        while told == "hang" and context.is_active():
            time.sleep(0.01)
        if told and told not in FAULTS:
            context.abort(getattr(grpc.StatusCode, told), f"told to answer {told}")
        given = self._answers(request, context)
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        if told != "nothing":
            tensor = response.outputs["probabilities"]
            tensor.CopyFrom(tf.make_tensor_proto(FAULTS[told](given) if told else given))
            if told == "floats":
                tensor.ClearField("tensor_content")
                tensor.float_val.extend(given.ravel().tolist())
        return response

    def _answers(self, request, context):
        spec = request.model_spec
        version = self._models / spec.name / str(spec.version.value)
        if not (version / "saved_model.pb").is_file():
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: Specific({spec.name}, {spec.version.value})",
            )
        image = tf.make_ndarray(request.inputs["image"])
        with self._asked.open("a") as asked:
            print(json.dumps([spec.name, spec.version.value, spec.signature_name, *image.shape]), file=asked)
        try:
            given = self._open(version).signatures[spec.signature_name](image=tf.constant(image))
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return given["probabilities"].numpy()


def main(models, port, control):
    options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    service = PredictionService(Path(models), Path(control))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("answers", flush=True)  # noqa: T201 - to the test that waits for it
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
