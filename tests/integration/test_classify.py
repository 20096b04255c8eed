import csv
import json
import os
import shutil
import signal
import time

import numpy as np
import psutil
import pyarrow.parquet
import pytest

from artifacts.files import sha256
from artifacts.pictures import Pictures
from artifacts.pixels import encode_png
from tests.real import Home

RESULTS = ("results.csv", "results.parquet", "rejects.csv", "contact_sheet.html", "summary.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pictures):
    """2,000 files in folders with awkward names, some of them damaged, some no pictures."""
    root = tmp_path_factory.mktemp("pictures")
    places = [root, root / "b c", root / "ä", root / "ä" / "deep"]
    for place in places:
        place.mkdir(exist_ok=True)
    random = np.random.default_rng(3)
    for number in range(1990):
        data = pictures.encoded[number % len(pictures.encoded)]
        (places[number % len(places)] / f"{random.integers(10**9):09d}, {number}.png").write_bytes(data)
    for number in range(4):
        (root / f"cut-{number}.png").write_bytes(pictures.encoded[number][: 40 + number])
    (root / "notes.txt").write_text("not a picture")
    (root / "empty.jpg").write_bytes(b"")
    (root / ".hidden.png").write_bytes(pictures.encoded[0])
    return root


def read(job):
    return {name: (job / name).read_bytes() for name in RESULTS}


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_has_one_row_in_order_with_the_label_of_the_server(home, server, folder, tmp_path):
    done = home.json("classify", folder, "--out", tmp_path / "out")
    rows = table(tmp_path / "out" / "results.csv")
    expected = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    assert sorted(row["path"] for row in rows) == sorted(str(path.relative_to(folder)) for path in expected)
    assert (done["total"], done["classified"], done["rejected"], done["hidden"]) == (1996, 1990, 6, 1)
    assert pyarrow.parquet.read_table(tmp_path / "out" / "results.parquet").num_rows == len(rows)
    good = [row for row in rows if not row["error"]]
    for row in good[::199]:
        data = (folder / row["path"]).read_bytes()
        prediction = server.predict(data)[1]["predictions"][0]
        assert row["label"] == prediction["label"]
        assert float(row["confidence"]) == pytest.approx(prediction["confidence"], abs=1e-5)
        assert [each["label"] for each in json.loads(row["top"])] == [each["label"] for each in prediction["top"]]
        assert (row["width"], row["height"], row["sha256"]) == ("8", "8", sha256(data))
        assert (row["model"], row["version"]) == ("digits", "1")


def test_a_folder_is_classified_in_the_variant_that_is_set(whole, pictures, tmp_path):
    golden = Pictures.load(whole.path / "models" / "digits" / "1" / "golden.npz")
    assert golden.encoded == pictures.encoded
    (tmp_path / "pictures").mkdir()
    for number, data in enumerate(golden.encoded):
        (tmp_path / "pictures" / f"{number:03}.png").write_bytes(data)
    other = Home(whole.path)
    confidences = {}
    for variant in ("fp32", "int8"):
        other.environment["TINTYPE_VARIANT"] = variant
        other.json("classify", tmp_path / "pictures", "--out", tmp_path / variant)
        confidences[variant] = [float(row["confidence"]) for row in table(tmp_path / variant / "results.csv")]
        expected = golden.answers.get(variant, golden.probabilities).max(1)
        assert confidences[variant] == pytest.approx(expected.tolist(), abs=1e-4)
    assert np.abs(np.subtract(*confidences.values())).max() > 1e-3
    done = other.run("classify", tmp_path / "pictures", "--out", tmp_path / "fp32")
    assert done.returncode == 2
    assert "in fp32" in done.stderr
    assert "this is" in done.stderr


def test_rejects_name_the_file_and_the_reason(home, folder, tmp_path):
    home.json("classify", folder, "--out", tmp_path / "out")
    rejects = {row["path"]: row for row in table(tmp_path / "out" / "rejects.csv")}
    assert rejects["notes.txt"]["code"] == "not_an_image"
    assert rejects["empty.jpg"]["code"] == "not_an_image"
    assert rejects["cut-0.png"]["code"] == "unreadable_picture"
    assert all(row["reason"] for row in rejects.values())


def test_a_kill_9_at_any_moment_and_the_same_command_again_give_the_same_bytes(home, folder, tmp_path):
    job = tmp_path / "job"
    home.json("classify", folder, "--out", job)
    unbroken = read(job)
    shutil.rmtree(job)
    killed = 0
    for wanted_parts in (0, 1, 2, 3, 0, 1):
        process = home.start("classify", folder, "--out", job)
        parts = job / "parts"
        while process.poll() is None and not (job / "job.json").exists():
            time.sleep(0.001)
        while process.poll() is None and len(list(parts.glob("*/[0-9]*.parquet"))) < wanted_parts:
            time.sleep(0.001)
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
        process.stderr.close()
        for name in RESULTS:
            assert not (job / name).exists() or (job / name).read_bytes() == unbroken[name]
    assert killed >= 3
    home.json("classify", folder, "--out", job)
    assert read(job) == unbroken
    assert not list(job.glob(".*.part"))


def test_what_is_done_is_not_done_again(home, folder, tmp_path):
    job = tmp_path / "job"
    home.json("classify", folder, "--out", job)
    before = {part.name: part.stat().st_mtime_ns for part in (job / "parts").glob("*/*")}
    home.json("classify", folder, "--out", job)
    assert {part.name: part.stat().st_mtime_ns for part in (job / "parts").glob("*/*")} == before


def test_a_folder_that_changed_is_classified_as_it_is_now(home, pictures, tmp_path):
    folder, job = tmp_path / "pictures", tmp_path / "job"
    folder.mkdir()
    (folder / "a.png").write_bytes(pictures.encoded[0])
    home.json("classify", folder, "--out", job)
    (folder / "a.png").write_bytes(pictures.encoded[1])
    (folder / "b.png").write_bytes(pictures.encoded[0])
    home.json("classify", folder, "--out", job)
    rows = table(job / "results.csv")
    assert [row["sha256"] for row in rows] == [sha256(pictures.encoded[1]), sha256(pictures.encoded[0])]
    assert len(list((job / "parts").glob("*/*"))) == 1


def test_without_out_the_same_command_finds_its_own_job(home, pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.encoded[0])
    first = home.json("classify", tmp_path)["job"]
    assert home.json("classify", tmp_path)["job"] == first
    assert first.startswith(str(home.path / "jobs"))


def test_a_job_of_another_folder_is_not_overwritten(home, pictures, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(pictures.encoded[0])
    home.json("classify", tmp_path / "one", "--out", tmp_path / "job")
    done = home.run("classify", tmp_path / "two", "--out", tmp_path / "job")
    assert done.returncode == 2
    assert "another --out" in done.stderr


def test_two_at_once_on_one_job_is_refused(home, folder, tmp_path):
    first = home.start("classify", folder, "--out", tmp_path / "job")
    while not (tmp_path / "job" / "job.json").exists():
        time.sleep(0.001)
    first.send_signal(signal.SIGSTOP)
    try:
        second = home.run("classify", folder, "--out", tmp_path / "job")
        assert second.returncode == 1
        assert "another process works on" in second.stderr
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    first.stderr.close()


def test_memory_does_not_grow_with_the_number_of_files(home, pictures, tmp_path):
    peaks = []
    for number in (1000, 8000):
        folder = tmp_path / str(number)
        folder.mkdir()
        for file in range(number):
            (folder / f"{file}.png").write_bytes(pictures.encoded[file % len(pictures.encoded)])
        process = home.start("classify", folder, "--out", tmp_path / f"out-{number}")
        peaks.append(_peak(process))
        assert process.returncode == 0
        process.stderr.close()
    assert peaks[1] - peaks[0] < 30_000_000


def _peak(process):
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.01)
    process.wait()
    return peak


def test_a_huge_picture_and_a_device_are_refused_and_the_rest_is_classified(home, pictures, tmp_path):
    (tmp_path / "a.png").write_bytes(pictures.encoded[0])
    (tmp_path / "huge.png").write_bytes(encode_png(np.zeros((7000, 7000, 1), np.uint8)))
    os.mkfifo(tmp_path / "pipe.png")
    done = home.json("classify", tmp_path, "--out", tmp_path / "out")
    assert (done["classified"], done["reject_reasons"]) == (1, {"not_a_file": 1, "picture_too_large": 1})


@pytest.mark.parametrize(("name", "says"), [("missing", "is not a folder"), ("", "holds no files")])
def test_a_folder_that_is_missing_or_empty_is_said_so(home, tmp_path, name, says):
    done = home.run("classify", tmp_path / name / "x" if name else tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
