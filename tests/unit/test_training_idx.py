import gzip
import shutil
import struct

import numpy as np
import pytest

from artifacts import pixels
from artifacts.errors import BadData
from training.data import idx

ONES = np.ones((3, 28, 28))


def written(values, magic=0x0800):
    values = np.asarray(values, np.uint8)
    return gzip.compress(struct.pack(f">I{values.ndim}I", magic + values.ndim, *values.shape) + values.tobytes())


@pytest.fixture
def small(tmp_path):
    """The four files, of a few pictures each."""
    home = tmp_path / "small"
    home.mkdir()
    rng = np.random.default_rng(0)

    def fill(count=20, labels=None, size=(28, 28)):
        for begin in ("train", "t10k"):
            pictures = rng.integers(0, 256, (count, *size))
            (home / f"{begin}-images-idx3-ubyte.gz").write_bytes(written(pictures))
            mine = np.arange(count) % 10 if labels is None else labels
            (home / f"{begin}-labels-idx1-ubyte.gz").write_bytes(written(mine))
        return home

    return fill


def test_mnist_is_read_as_it_is_distributed(shared_data, load):
    found = load("mnist", shared_data / "mnist")
    assert found.pixels.shape == (70_000, 28, 28, 1)
    assert np.bincount(found.classes[:60_000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert found.files[60_123] == "t10k-images-idx3-ubyte.gz#123"
    np.testing.assert_array_equal(pixels.decode(found.encode(9), 28, 28, 1).pixels, found.pixels[9])
    assert found.remarks == []
    assert found.formats == {"idx": 70_000}


def test_fashion_mnist_has_its_names(shared_data, load):
    found = load("fashion_mnist", shared_data / "fashion_mnist", labels="Ankle boot,T-shirt/top")
    assert found.labels == ["Ankle boot", "T-shirt/top"]
    assert np.bincount(found.classes).tolist() == [7000, 7000]
    assert found.classes[0] == 0  # the first picture of the training files is an ankle boot
    assert found.remarks == []


def test_the_two_that_share_their_file_names_are_told_apart(shared_data, load):
    with pytest.raises(
        BadData, match=r"is the file of fashion_mnist, not of mnist; train fashion_mnist, or copy mnist"
    ):
        load("mnist", shared_data / "fashion_mnist")


def test_other_files_of_the_right_form_are_used_and_that_is_said(small, load):
    found = load("mnist", small())
    assert found.pixels.shape == (40, 28, 28, 1)
    assert found.labels == [str(digit) for digit in range(10)]
    assert found.remarks == [
        f"not the official files of mnist, used as they are: {', '.join(idx.OFFICIAL['mnist'].md5)}"
    ]


def test_a_missing_file_is_named_with_the_ones_that_are_needed(tmp_path, load):
    with pytest.raises(BadData, match=r"there is no train-images-idx3-ubyte.gz in .*--data-dir must hold train-images"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x08\x03short"),
        written([1, 2, 3]),
        written(ONES)[:-9],
        written(ONES, magic=0x0D00),
    ],
    ids=["nothing", "no gzip", "nothing in gzip", "cut off in its head", "labels", "cut off", "floats"],
)
def test_a_damaged_file_is_refused(small, load, content):
    home = small()
    (home / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(BadData, match=r"train-images.* is not a gzipped 3-dimensional idx file .*copy it again"):
        load("mnist", home)


def test_a_file_that_was_cut_off_is_refused(shared_data, tmp_path, load):
    shutil.copytree(shared_data / "mnist", tmp_path / "mnist")
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    labels.chmod(0o644)
    labels.write_bytes(labels.read_bytes()[:-100])
    with pytest.raises(BadData, match=r"t10k-labels.* is not a gzipped 1-dimensional idx file"):
        load("mnist", tmp_path / "mnist")


def test_pictures_and_labels_must_agree_in_number(small, load):
    with pytest.raises(BadData, match="has 3 pictures and 2 labels"):
        load("mnist", small(3, labels=[0, 1]))


def test_labels_must_be_those_of_the_data_set(small, load):
    with pytest.raises(BadData, match="go up to 12; they must be 0 to 9"):
        load("mnist", small(3, labels=[0, 12, 1]))


@pytest.mark.parametrize(("count", "size"), [(3, (27, 28)), (0, (28, 28))])
def test_pictures_must_have_the_size_of_the_data_set(small, load, count, size):
    with pytest.raises(BadData, match=f"has {count} × {size[0]} × 28 pixels; it must have pictures of 28 × 28"):
        load("mnist", small(count, size=size))
