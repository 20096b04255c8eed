"""What the tests of the pictures' sources share."""

import http.server
import threading

import numpy as np
import pytest

from training import config
from training.data import sources as data
from training.presets import Preset

RECIPE = {"epochs": 1, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.001}
PRESET = Preset("any", "any", 0, input="28x28x1", smallest=18, data="any", expected="", recipe=RECIPE)


@pytest.fixture
def pets(tmp_path, encode):
    """A folder to be filled: `pets({"cat": 3})`, or `pets({"train/cat": 3, "test/cat": 2})`."""
    rng = np.random.default_rng(0)

    def fill(counts, kind="PNG", size=(20, 30, 3)):
        for folder, count in counts.items():
            (tmp_path / "pets" / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = rng.integers(0, 256, size, dtype=np.uint8)
                path = tmp_path / "pets" / folder / f"{number:03}.{kind.lower().replace('jpeg', 'jpg')}"
                path.write_bytes(encode(picture, kind))
        return tmp_path / "pets"

    return fill


@pytest.fixture
def load(tmp_path):
    """`data.load` for a preset of 28x28x1 that needs at least 18x18, with changes of its recipe."""

    def loaded(name, data_dir=None, **overrides):
        recipe = config.resolve(PRESET, overrides)
        return data.load(
            str(name), lambda native: config.at_input(recipe, PRESET, native), data_dir, tmp_path / "cache"
        )

    return loaded


@pytest.fixture
def server(tmp_path):
    """A web server of the files in `served`; its address."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path / "served")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
