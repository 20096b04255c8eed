"""The rival: a plain Flask handler that decodes with Pillow and calls ONNX Runtime itself."""

import io
import os

import numpy as np
import onnxruntime
from flask import Flask, request
from PIL import Image

app = Flask(__name__)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCH_ONNX"], options, providers=["CPUExecutionProvider"])
size = tuple(session.get_inputs()[0].shape[1:3])


@app.post("/predict")
def predict() -> dict[str, object]:
    """The best class and its probability."""
    image = Image.open(io.BytesIO(request.get_data(cache=False))).convert("RGB")
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    row = session.run(None, {"image": np.asarray(image)[None]})[0][0]
    best = int(row.argmax())
    return {"class": best, "probability": float(row[best])}
