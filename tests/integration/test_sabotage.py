"""What an exporter could get wrong, from the pictures to the probabilities, is caught by the gate."""

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import helper, numpy_helper

import exporters.export as exporting
from artifacts.errors import ParityFailed
from artifacts.store import Store
from exporters import encoded, to_saved_model, variants
from exporters.export import export
from exporters.variants import Order

SHAPE = (16, 20, 3)  # of the coloured pictures
FP32 = Order(("fp32",))


def swapped(image):
    return tf.gather(image, [0, 2, 1], axis=-1)


def bgr(image):
    return image[..., ::-1]


def transposed(image):
    return tf.reshape(tf.transpose(image, (0, 2, 1, 3)), (-1, *SHAPE))


def scaled_by_256(image):
    return tf.cast(tf.cast(image, tf.float32) * (255 / 256), tf.uint8)


def centred(image):
    return tf.cast(tf.nn.relu(tf.cast(image, tf.float32) - 127.5), tf.uint8)


def of_another_filter(image):
    smaller = tf.image.resize(image, (SHAPE[0] - 1, SHAPE[1] - 1), "nearest")
    return tf.image.resize(smaller, SHAPE[:2], "nearest")


def shuffled(probabilities):
    return tf.gather(probabilities, [1, 0, 2, 3], axis=-1)


def no_numbers(probabilities):
    return probabilities / tf.zeros_like(probabilities)


def fewer(probabilities):
    return probabilities[:, :-1]


BEFORE = (swapped, bgr, transposed, scaled_by_256, centred, of_another_filter)
AFTER = (shuffled, no_numbers, fewer)


def sabotaged(change, predict):
    """The same, of altered pictures or with altered probabilities."""

    @tf.function(input_signature=predict.input_signature)
    def altered(image):
        if change in BEFORE:
            return predict(change(image))
        return {"probabilities": change(predict(image)["probabilities"])}

    return altered


def refused(run, folder, says):
    store = Store(folder)
    with pytest.raises(ParityFailed, match=says):
        export(run, store, "coloured", FP32)
    assert store.names() == []
    assert not list(folder.glob("coloured/[!.]*"))
    assert not list(folder.glob("coloured/.tmp-*"))


@pytest.mark.parametrize("change", [*BEFORE, *AFTER])
def test_an_onnx_graph_that_differs_is_not_published(coloured_run, tmp_path, monkeypatch, change):
    write = exporting.write_onnx
    monkeypatch.setattr(exporting, "write_onnx", lambda predict, path: write(sabotaged(change, predict), path))
    refused(coloured_run, tmp_path, "ONNX (differs|answers with)")


@pytest.mark.parametrize("change", [bgr, of_another_filter])
def test_a_saved_model_that_differs_is_not_published(coloured_run, tmp_path, monkeypatch, change):
    make = to_saved_model.prediction_function
    monkeypatch.setattr(to_saved_model, "prediction_function", lambda *given: sabotaged(change, make(*given)))
    refused(coloured_run, tmp_path, "SavedModel differs")


@pytest.mark.parametrize("method", ["nearest", "bicubic"])
def test_another_filter_in_the_signature_encoded_shows_in_its_measured_difference(
    coloured_run, tmp_path, monkeypatch, method
):
    def stretched(picture, shape):
        return tf.cast(tf.clip_by_value(tf.image.resize(picture, shape[:2], method), 0, 255), tf.uint8)

    monkeypatch.setattr(encoded, "_stretched", stretched)
    told = export(coloured_run, Store(tmp_path), "coloured", FP32).manifest["saved_model"]["encoded"]
    assert (told["pictures"], told["refused"]) == (40, 0)
    assert told["pixels_mean_difference"] > 0.3
    assert told["pixels_max_difference"] > 1
    assert told["max_difference"] > 1e-4


def test_a_reduced_precision_of_swapped_channels_is_left_out(coloured_run, tmp_path, monkeypatch):
    write = variants.write_half

    def sabotaged_half(source, path):
        write(source, path)
        model = onnx.load(path)
        for node in model.graph.node:
            node.input[:] = ["in order" if name == "image" else name for name in node.input]
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "order"))
        model.graph.node.insert(0, helper.make_node("Gather", ["image", "order"], ["in order"], axis=3))
        onnx.save(model, path)

    monkeypatch.setattr(variants, "write_half", sabotaged_half)
    manifest = export(coloured_run, Store(tmp_path), "coloured", Order(("fp32", "fp16"))).manifest
    assert list(manifest["variants"]) == ["fp32"]
    assert manifest["left_out"]["fp16"].startswith("fp16 gives another label than the Keras model on ")
    assert not (tmp_path / "coloured" / "1" / "model.fp16.onnx").exists()
