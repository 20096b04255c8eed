import csv
import itertools
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from serving.jobs import inputs
from serving.jobs.chunk import Reading, classify_chunk
from serving.jobs.parts import SCHEMA, counts, read_parts, regroup, write_part
from serving.jobs.results import write_results
from tests.real import read_listing

MODEL = {"name": "tones", "version": 7, "sha256": "0" * 64, "variant": "fp32"}
NAMES = [
    "a b.png", 'comma, "quoted".png', "line\nbreak.png", "return\r.png", "é日本🐈.png", "=1+1.png",
    os.fsdecode(b"caf\xe9.png"),
]  # fmt: skip
FILES = ("results.csv", "results.jsonl", "results.parquet", "rejects.csv", "contact_sheet.html", "summary.json")


@pytest.fixture
def folder(tmp_path, encode):
    """23 files: pictures dark and light, odd names, and what is no picture."""
    home = tmp_path / "pictures"
    (home / "deep").mkdir(parents=True)
    for number in range(10):
        (home / f"{number}.png").write_bytes(encode(np.full((6, 6, 3), number * 28, np.uint8)))
    for number, name in enumerate(NAMES):
        (home / name).write_bytes(encode(np.full((6, 6, 3), 200 + number, np.uint8)))
    (home / "deep" / "cut.png").write_bytes(encode(np.zeros((50, 50), np.uint8))[:50])
    (home / "deep" / "text.jpg").write_bytes(b"hello")
    (home / "deep" / "empty.jpg").write_bytes(b"")
    (home / "deep" / 'new\nline, "x".txt').write_bytes(b"hello")
    (home / "gif.png").write_bytes(encode(np.zeros((4, 4), np.uint8), "GIF"))
    (home / "out").symlink_to("/etc/hostname")
    return home


@pytest.fixture
def job(tmp_path, folder, classifier, monkeypatch):
    """Do a whole job; return its directory."""
    monkeypatch.setattr(inputs, "CHUNK", 5)

    def done(name="job", parts_order=1):
        home = tmp_path / name
        (home / "parts").mkdir(parents=True, exist_ok=True)
        inputs.write_listing(folder, home / "inputs", home)
        chunks = list(read_listing(home / "inputs"))
        for each in chunks[::parts_order]:
            write_part(home / "parts" / each.part, classify_chunk(folder, each.inputs, classifier))
        write_results(home, reading(folder), [home / "parts" / each.part for each in chunks], MODEL)
        return home

    return done


def reading(folder):
    return Reading(folder, "tones", 7, (8, 8, 3), 1_000_000)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_there_is_one_row_for_each_file_in_order(job, folder):
    rows = rows_of(job() / "results.csv")
    found = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    expected = sorted((os.fsencode(path) for path in found), key=lambda path: path.split(b"/"))
    shown = [os.fsdecode(path).encode("utf-8", "backslashreplace").decode() for path in expected]
    assert [row["path"] for row in rows] == shown
    assert len(rows) == 23


def test_the_columns_are_those_of_the_design(job):
    home = job()
    columns = ["path", "label", "confidence", "top", "width", "height", "sha256", "model", "version", "error"]
    assert list(rows_of(home / "results.csv")[0]) == columns
    assert pyarrow.parquet.read_schema(home / "results.parquet").names == columns
    assert list(rows_of(home / "rejects.csv")[0]) == ["path", "code", "reason"]


def test_the_parquet_types_are_fixed_even_for_columns_of_nothing(tmp_path):
    assert dict(zip(SCHEMA.names, map(str, SCHEMA.types), strict=True)) == {
        "path": "string", "label": "string", "confidence": "double", "top": "string", "width": "int32",
        "height": "int32", "sha256": "string", "model": "string", "version": "int32", "error": "string",
    }  # fmt: skip
    row = {**dict.fromkeys(SCHEMA.names), "path": "a", "error": "not_an_image: no"}
    write_part(tmp_path / "part.parquet", [row, row])
    (table,) = read_parts([tmp_path / "part.parquet"])
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == [row, row]


def test_csv_and_parquet_agree(job):
    home = job()
    text = rows_of(home / "results.csv")
    typed = pyarrow.parquet.read_table(home / "results.parquet")
    assert typed.schema.equals(SCHEMA)
    assert [
        {key: "" if value is None else str(value) for key, value in row.items()} for row in typed.to_pylist()
    ] == text


def test_rejects_are_the_rows_with_an_error(job):
    home = job()
    expected = [row for row in rows_of(home / "results.csv") if row["error"]]
    rejects = rows_of(home / "rejects.csv")
    assert [(row["path"], f"{row['code']}: {row['reason']}") for row in rejects] == [
        (row["path"], row["error"]) for row in expected
    ]
    assert [row["code"] for row in rejects] == [
        "unreadable_picture", "not_an_image", "not_an_image", "not_an_image", "unsupported_format", "symbolic_link",
    ]  # fmt: skip


def test_a_row_has_a_label_or_an_error_and_never_both(job):
    for row in pyarrow.parquet.read_table(job() / "results.parquet").to_pylist():
        given = [key for key in ("label", "confidence", "top", "width", "height") if row[key] is not None]
        assert len(given) == (0 if row["error"] else 5)
        assert (row["model"], row["version"]) == ("tones", 7)


def test_the_summary_counts_every_file_once(job):
    home = job()
    summary = json.loads((home / "summary.json").read_bytes())
    rows = rows_of(home / "results.csv")
    assert summary["total"] == len(rows) == summary["classified"] + summary["rejected"]
    assert summary["labels"] == {"light": 12, "dark": 5}
    assert sum(summary["confidence_histogram"]) == summary["classified"] == 17
    assert summary["reject_reasons"] == {
        "not_an_image": 3, "symbolic_link": 1, "unreadable_picture": 1, "unsupported_format": 1,
    }  # fmt: skip
    assert summary["model"] == MODEL


def test_a_confidence_of_one_falls_into_the_last_bin(tmp_path):
    row = {**dict.fromkeys(SCHEMA.names), "path": "a", "label": "x", "confidence": 1.0, "top": "[]"}
    write_part(tmp_path / "part", [row])
    write_results(tmp_path, reading(tmp_path), [tmp_path / "part"], MODEL)
    assert json.loads((tmp_path / "summary.json").read_bytes())["confidence_histogram"] == [0] * 9 + [1]


def test_two_runs_and_another_order_of_work_give_the_same_bytes(job):
    one, again, backwards = job("one"), job("one"), job("two", parts_order=-1)
    for name in FILES:
        assert (one / name).read_bytes() == (again / name).read_bytes() == (backwards / name).read_bytes()


def test_nothing_is_left_beside_the_results(job):
    home = job()
    assert sorted(path.name for path in home.iterdir()) == sorted([*FILES, "inputs", "parts"])


def test_an_interrupted_end_keeps_the_old_results(job):
    home = job()
    before = {name: (home / name).read_bytes() for name in FILES}
    with pytest.raises(FileNotFoundError):
        write_results(home, reading(home), [*sorted((home / "parts").glob("*/*")), home / "none"], MODEL)
    assert {name: (home / name).read_bytes() for name in FILES} == before


def test_a_folder_whose_own_name_is_not_utf8_has_results(tmp_path, encode, classifier):
    folder = tmp_path / os.fsdecode(b"\xe9t\xe9")
    home = tmp_path / f"{folder.name}-job"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode(np.zeros((4, 4, 3), np.uint8)))
    inputs.write_listing(folder, home / "inputs", home)
    (only,) = read_listing(home / "inputs")
    write_part(home / "part", classify_chunk(folder, only.inputs, classifier))
    write_results(home, reading(folder), [home / "part"], MODEL)
    assert json.loads((home / "summary.json").read_bytes())["folder"] == str(folder)


def test_parts_are_read_as_written_under_any_folder_name(tmp_path):
    home = tmp_path / "label=cat" / "version=9"
    home.mkdir(parents=True)
    row = {**dict.fromkeys(SCHEMA.names), "path": "a", "label": "dog", "version": 1}
    write_part(home / "part.parquet", [row])
    assert pa.concat_tables(read_parts([home / "part.parquet"])).to_pylist() == [row]


@pytest.mark.parametrize("sizes", [[10], [3, 7], [1] * 10, [4, 4, 2], [9, 1], [0, 10, 0]])
def test_groups_are_the_same_whatever_the_parts(sizes):
    rows = [{**dict.fromkeys(SCHEMA.names), "path": f"{number}"} for number in range(10)]
    ends = list(itertools.accumulate(sizes))
    tables = [pa.Table.from_pylist(rows[end - size : end], SCHEMA) for size, end in zip(sizes, ends, strict=True)]
    groups = list(regroup(tables, 4))
    assert [len(group) for group in groups] == [4, 4, 2]
    assert pa.concat_tables(groups).to_pylist() == rows


def test_a_footer_tells_how_many_rows_have_no_label(tmp_path):
    row = {**dict.fromkeys(SCHEMA.names), "path": "a"}
    for rejected in (0, 1, 3):
        write_part(tmp_path / "part", [{**row, "error": "x" if number < rejected else None} for number in range(3)])
        assert counts(tmp_path / "part") == (3, rejected)
