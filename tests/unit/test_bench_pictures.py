import numpy as np
import pytest

from artifacts.errors import WrongUse
from serving.bench import pictures
from serving.bench.pictures import read

LIMIT = 1_000_000  # pixels


@pytest.fixture
def folder(tmp_path, encode):
    """c.jpg, a.png, below/b.webp, and what is none."""
    picture = np.zeros((8, 9, 3), np.uint8)
    (tmp_path / "below").mkdir()
    for name, kind in (("c.jpg", "JPEG"), ("a.png", "PNG"), ("below/b.webp", "WEBP")):
        (tmp_path / name).write_bytes(encode(picture, kind))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(encode(picture))
    return tmp_path


def test_files_and_folders_are_read(folder):
    found = read([folder], LIMIT)
    assert [(each.name, each.kind) for each in found.pictures] == [
        ("a.png", "image/png"), ("b.webp", "image/webp"), ("c.jpg", "image/jpeg"),
    ]  # fmt: skip
    assert found.pictures[0].data == (folder / "a.png").read_bytes()
    assert (found.files, found.skipped) == (4, 1)


def test_a_file_that_was_named_is_sent_as_it_is(folder):
    found = read([folder / "c.jpg", folder / "below"], LIMIT)
    assert [each.name for each in found.pictures] == ["b.webp", "c.jpg"]


@pytest.mark.parametrize(("most", "value"), [("MOST", 2), ("MOST_BYTES", 100)])
def test_of_many_files_the_same_few_are_sent_each_time(folder, monkeypatch, most, value):
    monkeypatch.setattr(pictures, most, value)
    found = read([folder], LIMIT)
    assert 1 <= len(found.pictures) <= 2
    assert found.files == 4
    assert read([folder], LIMIT) == found


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("notes.txt", "notes.txt: this is not a picture"),
        ("damaged.png", "damaged.png: the picture is damaged"),
        ("absent.png", "there is no file .*absent.png"),
        ("empty", "there is no picture in .*empty"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(folder, name, says):
    (folder / "damaged.png").write_bytes((folder / "a.png").read_bytes()[:40])
    (folder / "empty").mkdir()
    with pytest.raises(WrongUse, match=says):
        read([folder / "a.png", folder / name] if name != "empty" else [folder / name], LIMIT)


def test_a_picture_beyond_the_limit_gets_a_sentence(folder):
    with pytest.raises(WrongUse, match=r"a\.png: the picture has 9 × 8 = 72 pixels; at most 71"):
        read([folder / "a.png"], 71)
