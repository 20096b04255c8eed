import pytest

from artifacts import run as runs
from artifacts.errors import BadRun


@pytest.fixture
def home(tmp_path):
    for name in ("20260101-120000-cnn-0a0a", "20260102-120000-cnn-1b1b", "20260102-130000-mlp-2c2c"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text('{"test": {"accuracy": 0.5}}')
    (tmp_path / "runs" / "20260103-120000-cnn-3d3d").mkdir()
    return tmp_path / "runs"


def test_finished_runs_come_oldest_first_and_unfinished_ones_not_at_all(home):
    assert [run.id[:8] for run in runs.finished(home)] == ["20260101", "20260102", "20260102"]
    assert runs.finished(home / "none") == []


@pytest.mark.parametrize(
    ("reference", "suffix"),
    [("20260102-120000-cnn-1b1b", "1b1b"), ("20260101", "0a0a"), ("20260102-13", "2c2c"), ("latest", "2c2c")],
)
def test_a_run_is_found_by_id_by_beginning_and_by_latest(home, reference, suffix):
    assert runs.find(home, reference).id.endswith(suffix)


def test_a_run_is_found_by_path(home, monkeypatch):
    path = home / "20260101-120000-cnn-0a0a"
    assert runs.find(home, str(path)).path == path
    monkeypatch.chdir(home)
    assert runs.find(home / "none", path.name).path == path
    assert runs.find(home / "none", f"./{path.name}/").path == path


def test_an_id_wins_over_a_longer_one_that_begins_with_it(home):
    longer = home / "20260101-120000-cnn-0a0a-copy"
    longer.mkdir()
    (longer / "metrics.json").write_text("{}")
    assert runs.find(home, "20260101-120000-cnn-0a0a").id == "20260101-120000-cnn-0a0a"


def test_an_ambiguous_beginning_is_refused_and_its_runs_named(home):
    with pytest.raises(BadRun, match=r"2 runs begin with '20260102': .*1b1b, .*2c2c; give one id"):
        runs.find(home, "20260102")


def test_an_unfinished_run_is_said_to_be_unfinished(home):
    with pytest.raises(BadRun, match="has not finished; go on with `tintype train --resume 20260103-120000-cnn-3d3d`"):
        runs.find(home, "20260103-120000-cnn-3d3d")
    with pytest.raises(BadRun, match="not a finished training run"):
        runs.find(home, str(home / "20260103-120000-cnn-3d3d"))


@pytest.mark.parametrize("reference", ["1999", "cnn", "no\0name", "*", "~"])
def test_a_run_that_is_not_there_is_refused_and_the_newest_named(home, reference):
    with pytest.raises(BadRun, match=r"there is no run .*; the newest is 20260102-130000-mlp-2c2c"):
        runs.find(home, reference)


@pytest.mark.parametrize("reference", ["latest", "x"])
def test_with_no_runs_at_all_the_way_to_one_is_told(tmp_path, reference):
    with pytest.raises(BadRun, match="there is none yet: `tintype train digits` makes one"):
        runs.find(tmp_path / "runs", reference)


def test_ids_are_distinct_and_sort_by_time():
    ids = [runs.new_id("digits_cnn") for _ in range(50)]
    assert len(set(ids)) > 45
    assert [each[:15] for each in ids] == sorted(each[:15] for each in ids)


def test_a_run_reads_what_training_wrote(home):
    run = runs.find(home, "latest")
    (run.path / "config.toml").write_text('name = "café"\nseed = 3\n', encoding="utf-8")
    (run.path / "labels.json").write_text('["a", "é"]', encoding="utf-8")
    (run.path / "split.json").write_text('{"digest": "abc"}')
    assert run.config() == {"name": "café", "seed": 3}
    assert run.labels() == ["a", "é"]
    assert run.metrics()["test"]["accuracy"] == 0.5
    assert run.data_digest() == "abc"
    assert {run.model_file.name, run.pictures_file.name, run.report_file.name} == {
        "model.keras",
        "pictures.npz",
        "report.html",
    }


@pytest.fixture
def waiting(home):
    """Two runs that were begun and have not finished, one that has."""
    for name in ("20260102-130000-mlp-2c2c", "20260103-120000-cnn-3d3d", "20260104-120000-cnn-4e4e"):
        (home / name).mkdir(exist_ok=True)
        (home / name / "config.toml").write_text('name = "cnn"')
    return home


@pytest.mark.parametrize(("reference", "suffix"), [("latest", "4e4e"), ("20260103", "3d3d")])
def test_a_run_to_go_on_with_is_found(waiting, reference, suffix):
    assert runs.unfinished(waiting, reference).id.endswith(suffix)
    assert runs.unfinished(waiting, str(waiting / "20260103-120000-cnn-3d3d")).id.endswith("3d3d")


def test_a_run_that_cannot_be_gone_on_with_is_refused(waiting):
    with pytest.raises(BadRun, match="has finished; there is nothing to go on with"):
        runs.unfinished(waiting, "20260102-130000-mlp-2c2c")
    with pytest.raises(BadRun, match=r"there is no run '1999' to go on with .*; unfinished: .*3d3d, .*4e4e"):
        runs.unfinished(waiting, "1999")
    with pytest.raises(BadRun, match=r"2 runs begin with '2026010[0-9]*'|runs begin with '2026010'"):
        runs.unfinished(waiting, "2026010")


def test_begun_runs_are_listed_finished_or_not(waiting):
    assert [(run.id[-4:], run.finished) for run in runs.begun(waiting)] == [
        ("2c2c", True), ("3d3d", False), ("4e4e", False),
    ]  # fmt: skip
