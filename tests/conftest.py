"""What the tests of all tiers share: the shared data, and small true things to try the code on."""

import io
import logging
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts.bundle import Bundle
from artifacts.pixels import PREPROCESSING
from artifacts.store import Store
from serving.jobs.chunk import Classifier

SHARED_DATA = Path(__file__).parents[1] / "../shared/data"


@pytest.fixture(autouse=True)
def _what_is_logged():
    """Warnings, whatever a library that another test imported has done to the root logger (absl and TensorFlow do)."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`../shared/data`; without it a test is skipped at home and fails in CI."""
    if not SHARED_DATA.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{SHARED_DATA} is missing")
    return SHARED_DATA


@pytest.fixture(scope="session")
def unpacked(shared_data, tmp_path_factory) -> Callable[[str], Path]:
    """The top folder of an archive of the shared data, unpacked once for all tests."""
    home = tmp_path_factory.mktemp("shared")

    def unpack(name: str) -> Path:
        if not (home / name).exists():
            with tarfile.open(shared_data / f"{name}.tar.gz") as archive:
                archive.extractall(home / name, filter="data")
        (top,) = (home / name).iterdir()
        return top

    return unpack


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory):
    """A Redis for all tests that only need one; each gets it empty through `redis_server`."""
    from tests.redis_server import RedisServer

    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(shared_redis):
    """An empty Redis that answers; a test that stops it starts it again."""
    shared_redis.flush()
    return shared_redis


@pytest.fixture(scope="session")
def encode():
    """A Pillow image or a uint8 array as an encoded file."""

    def encoded(image, kind="PNG", **options) -> bytes:
        out = io.BytesIO()
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
        return out.getvalue()

    return encoded


@pytest.fixture(scope="session")
def eventually():
    """Return when a condition holds; fail when it does not within seconds."""

    def wait(condition, seconds=10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition never came true"
            time.sleep(0.001)

    return wait


class Brightness:
    """A runtime that can be told from afar: the second probability is a picture's mean brightness."""

    def run(self, pixels):
        light = pixels.reshape(len(pixels), -1).mean(axis=1) / 255
        return np.stack([1 - light, light], axis=1).astype(np.float32)


@pytest.fixture
def brightness() -> Brightness:
    return Brightness()


@pytest.fixture
def manifest():
    """A manifest as an exporter gives it to the store: without name, version, files, sha256."""
    return {
        "labels": ["dark", "light"],
        "input": {"height": 8, "width": 8, "channels": 3},
        "preprocessing": PREPROCESSING,
        "variants": {"fp32": {"file": "model.onnx", "best_batch": 4}},
        "metrics": {"test": {"accuracy": 1.0}},
    }


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def publish(store, manifest):
    """Publish a small version of a model."""

    def published(name="digits", content=b"graph") -> Bundle:
        with store.staging(name) as folder:
            (folder / "model.onnx").write_bytes(content)
            (folder / "report").mkdir()
            (folder / "report" / "training.html").write_text("report")
            return store.publish(name, folder, manifest, {"config.pbtxt": "text"})

    return published


@pytest.fixture
def classifier(tmp_path, manifest, brightness) -> Classifier:
    """What a chunk needs, on the stand-in runtime."""
    bundle = Bundle(tmp_path, {**manifest, "name": "tones", "version": 7, "sha256": "0" * 64})
    return Classifier(bundle, brightness, batch=4, max_pixels=1_000_000)
