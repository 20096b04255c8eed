import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from serving.jobs import folders
from serving.jobs.chunk import classify_chunk
from serving.jobs.inputs import Input, write_listing
from tests.real import read_listing


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def tone(encode):
    """A picture of one tone, encoded."""

    def encoded(value, size=(6, 10), kind="PNG"):
        return encode(np.full((*size, 3), value, np.uint8), kind)

    return encoded


@pytest.fixture
def listed(tmp_path, folder):
    """List the folder; return its inputs."""

    def run():
        write_listing(folder, tmp_path / "inputs", tmp_path / "job")
        return [each for part in read_listing(tmp_path / "inputs") for each in part.inputs]

    return run


@pytest.fixture
def recording(classifier, brightness):
    """A classifier, and the sizes of the batches that it was given."""
    batches = []

    class Recording:
        def run(self, pixels):
            batches.append(len(pixels))
            return brightness.run(pixels)

    return classifier._replace(runtime=Recording()), batches


def test_a_row_tells_all_of_a_picture(folder, listed, tone, classifier):
    data = tone(204)
    (folder / "a b.png").write_bytes(data)
    (row,) = classify_chunk(folder, listed(), classifier)
    top = json.loads(row.pop("top"))
    assert row == {
        "path": "a b.png",
        "label": "light",
        "confidence": 0.8,
        "width": 10,
        "height": 6,
        "sha256": hashlib.sha256(data).hexdigest(),
        "model": "tones",
        "version": 7,
        "error": None,
        "thumbnail": None,
    }
    assert top == [{"label": "light", "confidence": 0.8}, {"label": "dark", "confidence": 0.2}]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
def test_one_row_for_each_input_in_order_whatever_the_batch(folder, listed, tone, classifier, count):
    for number in range(count):
        (folder / f"{number}").write_bytes(tone(number * 25) if number % 3 else b"no picture")
    rows = classify_chunk(folder, listed(), classifier)
    assert [row["path"] for row in rows] == [f"{number}" for number in range(count)]
    for number, row in enumerate(rows):
        if number % 3:
            tops = {each["label"]: each["confidence"] for each in json.loads(row["top"])}
            assert tops["light"] == pytest.approx(number * 25 / 255, abs=1e-5)
        else:
            assert row["error"].startswith("not_an_image: this is not a picture")


def test_a_batch_is_made_of_the_same_inputs_in_whatever_chunk_they_are(folder, listed, tone, recording):
    for number in range(11):
        (folder / f"{number:02d}").write_bytes(b"bad" if number in (0, 5, 10) else tone(9 + number))
    classifier, batches = recording
    classifier, found = classifier._replace(bunch=8), listed()
    classify_chunk(folder, found, classifier)
    for start, end in ((0, 8), (8, 11)):
        classify_chunk(folder, found[start:end], classifier)
    assert batches == [3, 3, 2] * 2


def test_a_picture_that_came_before_in_its_bunch_is_not_inferred_again(folder, listed, tone, recording):
    tones = [10, 10, 20, 30, 20, 40, 10, 40, 10, 50, 10]
    for number, value in enumerate(tones):
        (folder / f"{number:02d}").write_bytes(tone(value))
    classifier, batches = recording
    rows = classify_chunk(folder, listed(), classifier._replace(bunch=8))
    assert batches == [3, 1, 2]  # 10, 20 and 30; 40; of the next bunch 10 and 50
    assert rows == classify_chunk(folder, listed(), classifier._replace(bunch=1, batch=1))
    assert [row["path"] for row in rows] == [f"{number:02d}" for number in range(11)]


def test_what_is_no_picture_is_refused_each_time_it_comes(folder, listed, tone, recording):
    for number, data in enumerate([b"bad", tone(1), b"bad", tone(9, (50, 50))[:60], tone(1), tone(9, (50, 50))[:60]]):
        (folder / f"{number}").write_bytes(data)
    classifier, batches = recording
    rows = classify_chunk(folder, listed(), classifier)
    assert [(row["error"] or "").partition(":")[0] for row in rows] == [
        "not_an_image", "", "not_an_image", "unreadable_picture", "", "unreadable_picture",
    ]  # fmt: skip
    assert rows[1] == rows[4] | {"path": "1"}
    assert all(row["sha256"] == hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest() for row in rows)
    assert batches == [1]


def test_what_cannot_be_classified_has_its_reason_and_its_sha256(folder, listed, tone, encode, classifier):
    contents = {
        "cut.png": (tone(9, (50, 50))[:60], "unreadable_picture"),
        "empty.jpg": (b"", "not_an_image"),
        "gif.jpg": (encode(np.zeros((4, 4), np.uint8), "GIF"), "unsupported_format"),
        "huge.png": (tone(0, (1001, 1000)), "picture_too_large"),
        "text.jpg": (b"hello", "not_an_image"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    rows = classify_chunk(folder, listed(), classifier)
    assert {row["path"]: row["error"].partition(": ")[0] for row in rows} == {
        name: code for name, (_, code) in contents.items()
    }
    for row in rows:
        assert row["sha256"] == hashlib.sha256(contents[row["path"]][0]).hexdigest()
        assert row["label"] is row["confidence"] is row["top"] is row["width"] is row["height"] is None
        assert (row["model"], row["version"]) == ("tones", 7)


def test_a_problem_of_the_listing_is_the_reason(folder, classifier):
    (row,) = classify_chunk(folder, [Input("link", 0, 0, "symbolic_link: the link leads out")], classifier)
    assert row["error"] == "symbolic_link: the link leads out"
    assert row["sha256"] is None


def test_a_file_that_went_away_is_a_row(folder, listed, tone, classifier):
    (folder / "a").write_bytes(tone(1))
    (folder / "b").write_bytes(tone(2))
    found = listed()
    (folder / "a").unlink()
    gone, there = classify_chunk(folder, found, classifier)
    assert gone["error"] == "file_unreadable: the file cannot be read (No such file or directory)"
    assert there["label"] == "dark"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkdir, "file_unreadable: the file cannot be read (Is a directory)"),
        (lambda path: path.symlink_to("/dev/zero"), "bad_picture: this is not a regular file any more"),
    ],
)
def test_what_took_a_files_place_is_a_row(folder, listed, classifier, make, reason):
    (folder / "a").write_bytes(b"x")
    found = listed()
    (folder / "a").unlink()
    make(folder / "a")
    (row,) = classify_chunk(folder, found, classifier)
    assert (row["error"], row["sha256"]) == (reason, None)


def test_a_pipe_that_took_a_files_place_holds_nobody_up(folder, listed, classifier):
    (folder / "a").write_bytes(b"x")
    found = listed()
    (folder / "a").unlink()
    os.mkfifo(folder / "a")
    rescue = threading.Timer(10, os.open, (folder / "a", os.O_WRONLY | os.O_NONBLOCK))
    rescue.start()
    (row,) = classify_chunk(folder, found, classifier)
    assert rescue.is_alive()
    rescue.cancel()
    rescue.join()
    assert row["error"] == "bad_picture: this is not a regular file any more"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_a_row(folder, listed, tone, classifier):
    (folder / "a").write_bytes(tone(1))
    (folder / "a").chmod(0)
    (row,) = classify_chunk(folder, listed(), classifier)
    assert row["error"] == "file_unreadable: the file cannot be read (Permission denied)"


def test_a_file_beyond_the_limit_is_not_read(folder, listed, tone, classifier, monkeypatch):
    monkeypatch.setattr(folders, "MAX_FILE_BYTES", 10)
    (folder / "a").write_bytes(tone(1))
    (row,) = classify_chunk(folder, listed(), classifier)
    assert row["error"].endswith("bytes; at most 10 are read")
    assert row["sha256"] is None


def test_a_name_that_is_not_utf8_is_classified_and_shown_escaped(folder, listed, tone, classifier):
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(tone(250))
    (row,) = classify_chunk(folder, listed(), classifier)
    assert (row["path"], row["label"]) == ("caf\\udce9.png", "light")


def test_no_handle_stays_open(folder, tone, classifier):
    for number in range(20):
        (folder / f"{number}").write_bytes(tone(1) if number % 2 else b"bad")
    (folder / "link").symlink_to("/dev/zero")
    found = [Input(f"{number}", 0, 0) for number in range(20)] + [Input("link", 0, 0), Input("none", 0, 0)]
    before = len(list(Path("/proc/self/fd").iterdir()))
    classify_chunk(folder, found, classifier)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_same_inputs_give_the_same_rows(folder, listed, tone, classifier):
    for number in range(10):
        (folder / f"{number}").write_bytes(tone(number * 20, kind="JPEG"))
    found = listed()
    assert classify_chunk(folder, found, classifier) == classify_chunk(folder, found, classifier)
