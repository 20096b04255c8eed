"""The training room runs without TensorFlow, on another backend of Keras.

With convolutions, augmentation and normalisations: tests/acceptance/test_backends.py.
"""

from tests.on_jax import tintype_json


def test_a_dense_network_is_trained_on_jax(tmp_path):
    told = tintype_json(tmp_path, "train", "digits", "--preset", "mlp-32", "--epochs", "20")
    assert told["metrics"]["test"]["accuracy"] > 0.8
