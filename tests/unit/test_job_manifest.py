import json

import pytest

from artifacts.errors import WrongUse
from serving.jobs.manifest import read_manifest


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "pictures"
    (home / "cats").mkdir(parents=True)
    for name in ("cats/1.jpg", "cats/2, ä.jpg", "dog.jpg"):
        (home / name).write_bytes(b"xy")
    (home / "out").symlink_to("/etc/hostname")
    (home / "in").symlink_to("dog.jpg")
    return home


@pytest.fixture
def read(tmp_path, folder):
    def found(text, name="manifest.csv", skip=0):
        (tmp_path / name).write_text(text)
        return list(read_manifest(tmp_path / name, folder, skip))

    return found


def test_both_kinds_say_the_same(read):
    expected = [("cats/1.jpg", 2, "cat"), ("cats/2, ä.jpg", 2, ""), ("in", 2, "dog")]
    table = read('label,path,more\ncat,cats/1.jpg,x\n,"cats/2, ä.jpg",\ndog,in,y\n')
    lines = [{"path": path, "label": label} for path, _, label in expected]
    assert [(each.path, each.size, each.truth) for each in table] == expected
    assert read("\n".join(map(json.dumps, lines)) + "\n\n", "manifest.jsonl") == table
    assert not [each for each in table if each.problem]


@pytest.mark.parametrize("path", ["out", "../job.json", "/etc/hostname", "cats/../../../../../../../../etc/hostname"])
def test_a_path_that_leads_out_is_a_row_with_its_reason(read, path, tmp_path):
    (tmp_path / "job.json").write_text("secret")
    (found,) = read(f"path\n{path}\n")
    assert found.problem == "outside: the path leads out of the manifest's folder"


@pytest.mark.parametrize(("path", "problem"), [("none", "file_unreadable"), ("cats", "not_a_file")])
def test_what_is_no_file_is_a_row_with_its_reason(read, path, problem):
    (found,) = read(f"path\n{path}\n")
    assert found.problem.partition(":")[0] == problem


def test_a_listing_goes_on_behind_what_is_listed(read):
    text = "path\n" + "".join(f"{number}\n" for number in range(10))
    assert read(text, skip=7) == read(text)[7:]


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("file\na.jpg\n", "manifest.csv", "entry 1 of the manifest has no path"),
        ("path,label\na.jpg,x\n,y\n", "manifest.csv", "entry 2 of the manifest has no path"),
        ('{"path": "a"}\n["a"]\n', "manifest.jsonl", "entry 2 of the manifest has no path"),
        ('{"path": 7}\n', "manifest.jsonl", "entry 1 of the manifest has no path"),
        ("{\n", "manifest.jsonl", "the manifest cannot be read"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_with_the_place(read, text, name, says):
    with pytest.raises(WrongUse, match=says):
        read(text, name)
