import io
import json
import shutil
import time
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import exporters.export as exporting
from artifacts.bundle import verify
from artifacts.errors import BadRun, ParityFailed
from artifacts.pictures import Pictures
from artifacts.run import find
from artifacts.store import Store
from exporters.export import export
from exporters.variants import Order
from tests.real import Home

FP32 = Order(("fp32",))


@pytest.fixture
def run(home):
    return find(home.path / "runs", "latest")


@pytest.fixture
def version(home):
    return home.path / "models" / "digits" / "1"


@pytest.fixture
def golden(version):
    return Pictures.load(version / "golden.npz")


def test_the_manifest_says_everything(version, run):
    manifest = verify(version).manifest
    assert (manifest["name"], manifest["version"]) == ("digits", 1)
    assert manifest["labels"] == [str(digit) for digit in range(10)]
    assert manifest["run"] == {"id": run.id, "data_digest": run.data_digest(), "seed": run.config()["seed"]}
    variant = manifest["variants"]["fp32"]
    assert variant["file"] == "model.onnx"
    assert variant["best_batch"] >= 1
    assert variant["images_per_second"] > 0
    assert 0 < variant["parity"]["max_difference"] <= 1e-4
    assert variant["parity"]["differing_labels"] == 0
    assert variant["parity"]["batches"] == [1, 7, 32]
    assert manifest["metrics"]["test"]["accuracy"] == run.metrics()["test"]["accuracy"]
    assert manifest["parameters"] == 30_802
    assert manifest["libraries"]["tensorflow"] == tf.__version__


def test_the_onnx_graph_takes_uint8_pictures_and_any_batch(version, golden):
    graph = onnx.load(version / "model.onnx").graph
    (image,), (probabilities,) = graph.input, graph.output
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert (probabilities.name, probabilities.type.tensor_type.elem_type) == ("probabilities", onnx.TensorProto.FLOAT)
    session = onnxruntime.InferenceSession(version / "model.onnx")
    pixels = golden.decode(*verify(version).shape)
    for batch in (1, 3, 64):
        (answer,) = session.run(["probabilities"], {"image": pixels[:batch]})
        np.testing.assert_allclose(answer, golden.probabilities[:batch], atol=1e-4)


def test_the_version_is_one_of_tensorflow_serving_with_warm_up_requests(version, golden):
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    (image,) = signature.structured_input_signature[1].values()
    assert (image.name, image.dtype, image.shape[0]) == ("image", tf.uint8, None)
    pixels = golden.decode(*verify(version).shape)
    np.testing.assert_allclose(signature(image=pixels)["probabilities"], golden.probabilities, atol=1e-4)
    records = list(tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests")))
    log = prediction_log_pb2.PredictionLog.FromString(records[0].numpy())
    assert log.predict_log.request.model_spec.name == "digits"
    np.testing.assert_array_equal(tf.make_ndarray(log.predict_log.request.inputs["image"]), pixels[:1])


def test_the_signature_encoded_takes_the_files_themselves(version, golden):
    signature = tf.saved_model.load(str(version)).signatures["encoded"]
    answers = signature(encoded=tf.constant(golden.encoded))["probabilities"]
    np.testing.assert_allclose(answers, golden.probabilities, atol=1e-4)
    told = verify(version).manifest["saved_model"]["encoded"]
    assert (told["pictures"], told["refused"], told["differing_labels"]) == (64, 0, 0)
    assert (told["pixels_max_difference"], told["not_done"]) == (0, ["EXIF orientation", "WebP"])
    assert told["max_difference"] <= 1e-4


def test_the_model_has_a_configuration_for_triton(version):
    text = (version.parent / "config.pbtxt").read_text()
    best = verify(version).manifest["variants"]["fp32"]["best_batch"]
    assert f"preferred_batch_size: [{best}]" in text
    assert 'name: "digits"' in text
    assert "TYPE_UINT8 dims: [28, 28, 1]" in text
    assert "dims: [10]" in text


def test_golden_pictures_are_the_runs_own_with_its_answers(golden, run):
    held_out = Pictures.load(run.pictures_file)
    assert golden.encoded == held_out.encoded
    assert len(golden.encoded) >= 16
    accuracy = float((golden.probabilities.argmax(1) == golden.labels).mean())
    assert accuracy > 0.9


def _swapped(write):
    """An exporter that turns every picture upside down before the graph sees it."""

    def sabotaged(predict, path):
        signature = predict.input_signature

        @tf.function(input_signature=signature)
        def upside_down(image):
            return predict(tf.reverse(image, axis=[1]))

        return write(upside_down, path)

    return sabotaged


def test_an_onnx_that_answers_otherwise_is_not_published(run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "write_onnx", _swapped(exporting.write_onnx))
    store = Store(tmp_path)
    with pytest.raises(ParityFailed, match="ONNX differs"):
        export(run, store, "digits", FP32)
    assert store.names() == []
    assert not list((tmp_path / "digits").glob("[0-9]*"))
    assert not list((tmp_path / "digits").glob(".tmp-*"))


def test_other_weights_in_the_saved_model_are_not_published(run, tmp_path, monkeypatch):
    write = exporting.write_saved_model

    def sabotaged(model, shape, folder):
        kernel = next(weight for weight in model.trainable_weights if weight.name == "kernel")
        before = kernel.numpy()
        kernel.assign(before * 1.5)
        write(model, shape, folder)
        kernel.assign(before)

    monkeypatch.setattr(exporting, "write_saved_model", sabotaged)
    with pytest.raises(ParityFailed, match="SavedModel differs"):
        export(run, Store(tmp_path), "digits", FP32)
    assert Store(tmp_path).names() == []


def _copied(run, tmp_path):
    return type(run)(shutil.copytree(run.path, tmp_path / run.id))


def test_labels_that_do_not_fit_the_model_are_refused(run, tmp_path):
    broken = _copied(run, tmp_path)
    (broken.path / "labels.json").write_text(json.dumps(["a", "b"]))
    with pytest.raises(BadRun, match="2 labels and a model of 10 outputs"):
        export(broken, Store(tmp_path / "models"), "digits", FP32)


def test_a_truncated_model_is_refused(run, tmp_path):
    broken = _copied(run, tmp_path)
    broken.model_file.write_bytes(broken.model_file.read_bytes()[:-100])
    with pytest.raises(BadRun, match="cannot be loaded"):
        export(broken, Store(tmp_path / "models"), "digits", FP32)


def test_a_model_file_with_code_in_it_is_not_run(run, tmp_path):
    broken = _copied(run, tmp_path)
    out = io.BytesIO()
    with zipfile.ZipFile(broken.model_file) as old, zipfile.ZipFile(out, "w") as new:
        for item in old.namelist():
            text = old.read(item)
            if item == "config.json":
                config = json.loads(text)
                layer = {"module": "keras.layers", "class_name": "Lambda", "registered_name": None}
                layer["config"] = {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "4wE="}}}
                config["config"]["layers"][1] |= layer
                text = json.dumps(config)
            new.writestr(item, text)
    broken.model_file.write_bytes(out.getvalue())
    with pytest.raises(BadRun, match="cannot be loaded"):
        export(broken, Store(tmp_path / "models"), "digits", FP32)


def test_a_kill_9_while_a_version_is_published_leaves_none_or_a_whole_one(home, run, tmp_path):
    """At every other moment: tests/acceptance/test_kills.py."""
    other = Home(tmp_path / "home")
    shutil.copytree(home.path / "runs", other.path / "runs")
    store = Store(other.path / "models")
    process = other.start("export", run.id, "--precision", "fp32")
    while process.poll() is None and not list(store.root.glob("digits/.tmp-*/manifest.json")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    process.stderr.close()
    before = store.versions("digits")
    for number in before:
        assert verify(store.path("digits", number)).version == number
    assert export(run, store, "digits", FP32).version == 2
    assert store.versions("digits") == [*before, 2]
    assert not list(store.root.glob("digits/.tmp-*"))
