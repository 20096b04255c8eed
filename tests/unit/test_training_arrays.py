import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest

from artifacts import pixels
from artifacts.errors import BadData
from training import arrays, config, presets

CNN = presets.read("cnn")


def fit_to(**overrides):
    recipe = config.resolve(CNN, overrides)
    return lambda native: config.at_input(recipe, CNN, native)


def idx(values):
    values = np.asarray(values, np.uint8)
    return gzip.compress(struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes())


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
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_digits_become_bytes_and_are_enlarged_as_the_decoder_would():
    found = arrays.digits(fit_to())
    assert found.pixels.shape == (1797, 28, 28, 1)
    assert found.pixels.dtype == np.uint8
    for position in (0, 17, 1796):
        decoded = pixels.decode(found.encode(position), 28, 28, 1).pixels
        np.testing.assert_array_equal(decoded, found.pixels[position])
    assert pixels.decode(found.encode(0), 8, 8, 1).pixels.max() in range(230, 256)
    assert found.labels == [str(digit) for digit in range(10)]


def test_grey_becomes_rgb_as_the_decoder_would():
    found = arrays.digits(fit_to(input="20x24x3"))
    assert found.pixels.shape == (1797, 20, 24, 3)
    np.testing.assert_array_equal(pixels.decode(found.encode(5), 20, 24, 3).pixels, found.pixels[5])


def test_mnist_is_read_as_it_is_distributed(shared_data):
    found = arrays.mnist(fit_to(), shared_data / "mnist")
    assert found.pixels.shape == (70_000, 28, 28, 1)
    assert np.bincount(found.classes[:60_000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert found.files[60_123] == "t10k-images-idx3-ubyte.gz#123"
    np.testing.assert_array_equal(pixels.decode(found.encode(9), 28, 28, 1).pixels, found.pixels[9])


def test_a_missing_file_is_named_with_the_ones_that_are_needed(tmp_path):
    with pytest.raises(BadData, match=r"there is no train-images-idx3-ubyte.gz in .*--data-dir must hold train-images"):
        arrays.mnist(fit_to(), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x08\x03short"),
        idx([1, 2, 3]),
        idx(np.ones((2, 2, 2)))[:-9],
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(BadData, match=r"a.gz is not a gzipped idx file of 3 dimensions"):
        arrays.read_idx(tmp_path / "a.gz", 3)


def test_pictures_and_labels_must_agree_in_number(tmp_path):
    for begin in ("train", "t10k"):
        (tmp_path / f"{begin}-images-idx3-ubyte.gz").write_bytes(idx(np.ones((3, 28, 28))))
        (tmp_path / f"{begin}-labels-idx1-ubyte.gz").write_bytes(idx([0, 1]))
    with pytest.raises(BadData, match="has 3 pictures and 2 labels"):
        arrays.mnist(fit_to(), tmp_path)


def test_a_download_is_checked_and_kept(server, tmp_path):
    (tmp_path / "served" / "a.gz").write_bytes(b"content")
    md5 = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
    arrays.download(server, "a.gz", md5, tmp_path / "home")
    (tmp_path / "served" / "a.gz").unlink()
    arrays.download(server, "a.gz", md5, tmp_path / "home")
    assert (tmp_path / "home" / "a.gz").read_bytes() == b"content"


def test_a_download_that_fails_names_the_way_out(server, tmp_path):
    with pytest.raises(BadData, match=r"cannot be downloaded .*404.*give a local copy with --data-dir"):
        arrays.download(server, "none.gz", "", tmp_path)


def test_another_file_than_the_promised_one_is_refused(server, tmp_path):
    (tmp_path / "served" / "a.gz").write_bytes(b"something else")
    with pytest.raises(
        BadData, match=r"a.gz is not the official file: its md5 differs; give a local copy with --data-dir"
    ):
        arrays.download(server, "a.gz", "0" * 32, tmp_path / "home")
    assert not (tmp_path / "home").exists()
