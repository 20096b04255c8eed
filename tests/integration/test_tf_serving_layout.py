"""The store, file by file, beside what TensorFlow Serving's own documentation asks.

- "Tensorflow Serving Configuration" (tensorflow.org/tfx/serving/serving_config): ModelServerConfig, base_path,
  versions, labels.
- file_system_storage_path_source.proto: each child of base_path whose name is a whole number is a version.
- "SavedModel Warmup" (tensorflow.org/tfx/serving/saved_model_warmup): where, of which format, how many at most.
- "Using the SavedModel format" (tensorflow.org/guide/saved_model): the files of a SavedModel; the tag `serve`.
"""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from artifacts import rollouts, served
from artifacts.audit import Note
from artifacts.rollouts import Order
from artifacts.store import Store, parse

MOST_WARMUPS = 1000
BYTES, FLOATS = 4, 1  # DT_UINT8, DT_FLOAT


@pytest.fixture(scope="module")
def store(home, tmp_path_factory, publish_again):
    """A store in use: versions, a rollout, what servers remember, a maker that died."""
    root = tmp_path_factory.mktemp("tf") / "models"
    shutil.copytree(home.path / "models", root)
    store = Store(root)
    publish_again(store)
    served.remember(root / "digits", 1)
    rollouts.start(store, parse("digits@2"), Order("canary", 0.1, 600.0), Note("anna"))
    (root / "digits" / ".tmp-0123456789abcdef").mkdir()
    return store


@pytest.fixture(scope="module")
def version(store):
    return store.path("digits", 1)


def test_each_child_that_is_a_whole_number_is_a_whole_version_and_nothing_else_is(store):
    children = {path.name for path in (store.root / "digits").iterdir()}
    numbers = {name for name in children if re.fullmatch(r"[+-]?\s*\d+", name)}  # as the server's strto64 reads them
    assert numbers == {"1", "2"}
    assert children >= {"aliases.json", "audit.jsonl", "served.json", "rollouts", ".tmp-0123456789abcdef"}
    for number in numbers:
        assert (store.root / "digits" / number / "saved_model.pb").is_file()


def test_a_saved_model_has_its_files(version):
    assert (version / "saved_model.pb").is_file()
    assert sorted(path.name for path in (version / "variables").iterdir()) == [
        "variables.data-00000-of-00001", "variables.index",
    ]  # fmt: skip
    assert [path.name for path in (version / "assets.extra").iterdir()] == ["tf_serving_warmup_requests"]
    assert [name for name, _ in tf.train.list_variables(str(version / "variables" / "variables"))]


def test_its_graph_has_the_tag_and_the_signature_that_the_server_looks_for(version):
    read = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    assert read.saved_model_schema_version == 1
    (graph,) = [each for each in read.meta_graphs if list(each.meta_info_def.tags) == ["serve"]]
    signature = graph.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    (given,) = signature.inputs.items()
    assert (given[0], given[1].dtype, [dim.size for dim in given[1].tensor_shape.dim]) == (
        "image", BYTES, [-1, 28, 28, 1],
    )  # fmt: skip
    taken = signature.outputs["probabilities"]
    assert (taken.dtype, [dim.size for dim in taken.tensor_shape.dim]) == (FLOATS, [-1, 10])


def test_its_warm_up_is_a_file_of_prediction_logs_that_it_answers(version):
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    records = [each.numpy() for each in tf.data.TFRecordDataset(str(path))]
    assert 1 <= len(records) <= MOST_WARMUPS
    signatures = tf.saved_model.load(str(version)).signatures
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "digits"
        images = tf.make_ndarray(request.inputs["image"])
        answer = signatures[request.model_spec.signature_name](image=tf.constant(images))["probabilities"].numpy()
        assert answer.shape == (len(images), 10)
        assert np.allclose(answer.sum(axis=1), 1, atol=1e-4)


def test_the_configuration_names_folders_that_are_there_and_versions_that_are_in_them(store):
    read = text_format.Parse((store.root / "tf_serving.config").read_text(), ModelServerConfig())
    (model,) = read.model_config_list.config
    assert (model.name, model.model_platform) == ("digits", "tensorflow")
    assert model.base_path == str(store.root / "digits")
    assert model.base_path.startswith("/")
    versions = list(model.model_version_policy.specific.versions)
    assert versions == [1, 2]
    assert all((store.root / "digits" / str(each) / "saved_model.pb").is_file() for each in versions)
    assert dict(model.version_labels) == {"production": 1, "canary": 2} == store.aliases("digits")
    assert set(model.version_labels.values()) <= set(versions)
