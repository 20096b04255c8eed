import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest

from artifacts import pixels
from artifacts.errors import BadData, WrongUse
from training.data import cifar10

COUNT = 30


@pytest.fixture(scope="module")
def truth():
    """Files of the official form, and their pictures: {name: (classes, pictures)}."""
    rng = np.random.default_rng(0)
    return {
        file: (rng.permutation(np.arange(COUNT) % 10), rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8))
        for file in cifar10.PART_OF
    }


def official(classes, pictures):
    planes = pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)
    return np.concatenate([classes[:, None], planes], axis=1).astype(np.uint8).tobytes()


@pytest.fixture
def home(truth, tmp_path):
    home = tmp_path / "cifar"
    home.mkdir()
    for file, records in truth.items():
        (home / file).write_bytes(official(*records))
    (home / "batches.meta.txt").write_text("\n".join(cifar10.LABELS) + "\n\n")
    return home


@pytest.fixture
def archive(truth, tmp_path):
    """The archive, its members in no order, in a folder of its own."""
    home = tmp_path / "archived"
    home.mkdir()
    with tarfile.open(home / cifar10.ARCHIVE, "w:gz") as out:
        for file in ("readme.html", *sorted(truth, reverse=True)):
            content = official(*truth[file]) if file in truth else b"text"
            member = tarfile.TarInfo(f"{cifar10.SUBFOLDER}/{file}")
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return home


def is_true(found, truth):
    assert found.labels == cifar10.LABELS
    assert found.pixels.shape == (6 * COUNT, 32, 32, 3)
    np.testing.assert_array_equal(found.pixels, np.concatenate([pictures for _, pictures in truth.values()]))
    np.testing.assert_array_equal(found.classes, np.concatenate([classes for classes, _ in truth.values()]))
    assert found.parts.tolist() == ["train"] * 5 * COUNT + ["test"] * COUNT
    assert found.files[COUNT + 3] == "data_batch_2.bin#3"
    assert found.formats == {"CIFAR-10 binary": 6 * COUNT}


def test_the_official_files_are_read(home, truth, load):
    found = load("cifar10", home, input="32x32x3")
    is_true(found, truth)
    np.testing.assert_array_equal(pixels.decode(found.encode(7), 32, 32, 3).pixels, found.pixels[7])
    assert "not the official files, which have 10,000 pictures each: data_batch_1.bin has 30" in found.remarks[0]


def test_the_official_files_are_read_from_their_sub_folder(home, truth, load, tmp_path):
    (tmp_path / "around").mkdir()
    home.rename(tmp_path / "around" / cifar10.SUBFOLDER)
    is_true(load("cifar10", tmp_path / "around", input="32x32x3"), truth)


def test_the_archive_is_read_and_nothing_is_unpacked(archive, truth, load):
    is_true(load("cifar10", archive, input="32x32x3"), truth)
    assert [path.name for path in archive.iterdir()] == [cifar10.ARCHIVE]


def test_the_archive_is_downloaded_once(archive, truth, load, server, tmp_path, monkeypatch):
    shutil.copy(archive / cifar10.ARCHIVE, tmp_path / "served")
    content = (archive / cifar10.ARCHIVE).read_bytes()
    monkeypatch.setattr(cifar10, "URL", server)
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(content, usedforsecurity=False).hexdigest())
    is_true(load("cifar10", input="32x32x3"), truth)
    (tmp_path / "served" / cifar10.ARCHIVE).unlink()
    is_true(load("cifar10", input="32x32x3"), truth)


def test_colour_becomes_grey_as_the_decoder_would(home, load):
    found = load("cifar10", home, input="28x28x1", labels="cat,dog")
    assert found.pixels.shape == (6 * COUNT // 5, 28, 28, 1)
    for position in (0, 20):
        np.testing.assert_array_equal(pixels.decode(found.encode(position), 28, 28, 1).pixels, found.pixels[position])


def test_a_file_of_a_broken_length_is_refused(home, load):
    (home / "data_batch_3.bin").write_bytes((home / "data_batch_3.bin").read_bytes()[:-1])
    with pytest.raises(BadData, match=r"data_batch_3.bin has 92,189 bytes, not a whole number of records of 3,073"):
        load("cifar10", home)


def test_an_empty_file_is_refused(home, load):
    (home / "test_batch.bin").write_bytes(b"")
    with pytest.raises(BadData, match=r"test_batch.bin has 0 bytes, not a whole number"):
        load("cifar10", home)


def test_labels_beyond_nine_are_refused(home, load):
    (home / "test_batch.bin").write_bytes(b"\x0a" * cifar10.RECORD)
    with pytest.raises(BadData, match=r"the labels of .*test_batch.bin go up to 10; they must be 0 to 9"):
        load("cifar10", home)


def test_a_missing_file_is_named(home, load):
    (home / "data_batch_4.bin").unlink()
    with pytest.raises(BadData, match=r"there is no data_batch_4.bin in .*; it must hold data_batch_1.bin, "):
        load("cifar10", home)


def test_a_folder_with_nothing_of_it_is_refused(tmp_path, load):
    (tmp_path / "none" / "cifar-10-batches-py").mkdir(parents=True)
    with pytest.raises(BadData, match=r"does not hold CIFAR-10; --data-dir must hold data_batch_1.bin.*class/\*.jpg"):
        load("cifar10", tmp_path / "none")


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_an_archive_that_was_cut_off_is_refused(archive, load, share):
    path = archive / cifar10.ARCHIVE
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadData, match=rf"{cifar10.ARCHIVE} is damaged \(.*\); copy it again"):
        load("cifar10", archive)


def test_class_folders_are_read_in_the_order_of_the_official_labels(pets, load):
    labels = reversed(cifar10.LABELS)
    root = pets({f"{part}/{label}": 2 for label in labels for part in ("train", "test")}, "JPEG", (32, 32, 3))
    found = load("cifar10", root)
    assert found.labels == cifar10.LABELS
    assert found.pixels.shape == (40, 32, 32, 3)  # their own size, and not the preset's 28x28x1
    assert found.formats == {"JPEG": 40}


def test_class_folders_of_other_classes_are_refused(pets, load):
    with pytest.raises(WrongUse, match=r"has no labels 'airplane', 'automobile'.*its labels are bird, cat"):
        load("cifar10", pets({"cat": 2, "bird": 2}))
