import io

import numpy as np
import pytest

from artifacts.errors import BadBundle
from artifacts.pictures import GOLDEN_PICTURES, MOST_BYTES, Pictures, representative


@pytest.fixture
def golden(encode):
    tones = [np.full((6, 5, 3), tone, np.uint8) for tone in (0, 90, 255)]
    probabilities = np.array([[1, 0], [0.65, 0.35], [0, 1]], np.float32)
    return Pictures([encode(tone) for tone in tones], ["a.png", "é b.png", "c"], np.array([0, 0, 1]), probabilities)


def test_pictures_come_back_from_the_disk_as_they_were(golden, tmp_path):
    golden.save(tmp_path / "golden.npz")
    loaded = Pictures.load(tmp_path / "golden.npz")
    assert loaded.encoded == golden.encoded
    assert loaded.names == golden.names
    assert loaded.labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(loaded.probabilities, golden.probabilities)
    assert [path.name for path in tmp_path.iterdir()] == ["golden.npz"]


def test_a_run_has_pictures_without_probabilities(golden, tmp_path):
    Pictures(golden.encoded, golden.names, golden.labels).save(tmp_path / "pictures.npz")
    assert Pictures.load(tmp_path / "pictures.npz").probabilities is None


def test_pictures_decode_to_one_array_in_their_order(golden):
    decoded = golden.decode(4, 4, 1)
    assert decoded.shape == (3, 4, 4, 1)
    assert decoded[:, 0, 0, 0].tolist() == [0, 90, 255]


def encode_array():
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage", "pickle", "array", "other"])
def test_a_damaged_file_is_refused_with_a_sentence(golden, tmp_path, damage):
    path = tmp_path / "golden.npz"
    golden.save(path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "pickle":
        np.savez(path, data=np.array([object()]), offsets=np.array([0, 1]))
    elif damage == "array":
        path.write_bytes(encode_array())
    elif damage == "other":
        np.savez(path, something=np.zeros(3))
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "garbage": b"no zip at all"}[damage])
    with pytest.raises(BadBundle, match=r"golden\.npz is not a file of pictures .*export the run again"):
        Pictures.load(path)


def test_a_flipped_byte_is_refused(golden, tmp_path):
    path = tmp_path / "golden.npz"
    golden.save(path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(golden.encoded[0]) + 3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(BadBundle, match="CRC"):
        Pictures.load(path)


def test_the_representatives_take_the_labels_in_turn():
    labels = np.array([0] * 50 + [1] * 50 + [2])
    chosen = representative(labels, lambda _: 1)
    assert len(chosen) == GOLDEN_PICTURES
    assert chosen[:5] == [0, 50, 100, 1, 51]
    assert len(set(chosen)) == len(chosen)


def test_there_are_no_more_representatives_than_pictures():
    assert representative(np.array([1, 0]), lambda _: 5) == [1, 0]


def test_large_pictures_are_fewer_and_never_under_sixteen():
    assert len(representative(np.zeros(100, np.int64), lambda _: MOST_BYTES)) == 16
    assert len(representative(np.zeros(100, np.int64), lambda _: 10, most_bytes=200)) == 20


def test_pictures_that_are_not_looked_at_are_not_read():
    read = []
    representative(np.arange(100) % 7, lambda position: read.append(position) or MOST_BYTES // 20)
    assert len(read) == 21


def test_fewer_are_the_beginning_of_more():
    labels = np.random.default_rng(0).integers(0, 5, 300)
    assert representative(labels, lambda _: 1) == representative(labels, lambda _: 1, most=200)[:GOLDEN_PICTURES]
