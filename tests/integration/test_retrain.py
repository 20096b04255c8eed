"""From new pictures to production in one command, real as a person runs it."""

import json
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from artifacts.run import Run
from tests.real import Home

EACH = 30  # pictures of a class


@pytest.fixture(scope="module")
def grown(tmp_path_factory, encode):
    """Digits as a folder, with one class more: a cross."""
    folder, digits = tmp_path_factory.mktemp("data") / "digits", load_digits()
    cross = np.maximum(np.eye(8), np.eye(8)[::-1]) * 16
    for label in range(11):
        (folder / (str(label) if label < 10 else "cross")).mkdir(parents=True)
    noise = np.random.default_rng(0)
    for label in range(10):
        for number, image in enumerate(digits.images[digits.target == label][:EACH]):
            (folder / str(label) / f"{number}.png").write_bytes(encode((image * 15).astype(np.uint8)))
    for number in range(EACH):
        image = np.clip(cross * 15 + noise.integers(0, 16, (8, 8)), 0, 255).astype(np.uint8)
        (folder / "cross" / f"{number}.png").write_bytes(encode(image))
    return folder


@pytest.fixture(scope="module")
def retrained(home, grown, tmp_path_factory):
    """A home in which digits@2, which knows one class more, came into production by `tintype retrain`."""
    other = Home(tmp_path_factory.mktemp("retrained"))
    shutil.copytree(home.path / "runs", other.path / "runs")
    shutil.copytree(home.path / "models" / "digits", other.path / "models" / "digits")
    command = ["retrain", "digits", "--data", grown, "--epochs", "2", "--precision", "fp32", "--deploy"]
    return other, other.json(*command, "--require", "recall[cross] >= current")


def directory(home, told):
    return home.path / "trainings" / told["id"]


def test_a_folder_with_one_class_more_goes_into_production(home, retrained):
    other, told = retrained
    assert (told["status"], told["deployed"], told["version"], told["reason"]) == ("succeeded", True, 2, None)
    assert told["comparison"]["labels"] == {"added": ["cross"], "removed": []}
    assert told["comparison"]["current"]["version"] == 1
    assert told["bundle"] == str(other.path / "models" / "digits" / "2")
    entries = other.json("models", "digits")
    assert [(each["version"], "production" in each["aliases"]) for each in entries] == [(1, False), (2, True)]
    assert len(entries[1]["labels"]) == 11
    (earlier,) = (home.path / "runs").iterdir()
    before, config = Run(earlier).config(), Run(other.path / "runs" / told["run"]).config()
    assert config["after"] == earlier.name
    kept = ("preset", "model", "input", "optimizer", "learning_rate", "batch_size", "seed")
    assert {key: config[key] for key in kept} == {key: before[key] for key in kept}
    assert (config["epochs"], config["name"]) == (2, "digits")


def test_a_training_that_is_over_is_not_carried_out_again(retrained):
    other, told = retrained
    done = other.run("retrain", "--resume", told["id"])
    assert (done.returncode, f"training {told['id']} is over" in done.stderr) == (2, True)
    assert "all are over" in other.run("retrain", "--resume", "latest").stderr


def test_what_was_killed_before_the_end_goes_on_there_and_a_worse_one_is_not_deployed(retrained):
    other, told = retrained
    other.json("rollback", "digits")
    altered(other, told, require="accuracy > 1")
    again = other.json("retrain", "--resume", "latest")
    assert (again["status"], again["deployed"], again["version"]) == ("succeeded", False, 2)
    assert again["reason"].startswith("digits@2 is not good enough for production: accuracy ")
    assert again["comparison"]["passed"] is False
    assert [each["aliases"] for each in other.json("models", "digits")] == [["production"], ["previous"]]
    assert len(list((other.path / "runs").iterdir())) == 2


def altered(home, told, **changes):
    """The same training with another order, and without its end."""
    path = directory(home, told) / "training.json"
    record = json.loads(path.read_text())
    record["order"] |= changes
    path.write_text(json.dumps(record))
    (directory(home, told) / "outcome.json").unlink()


def test_as_a_canary_it_has_a_share_of_the_requests_first(retrained):
    other, told = retrained
    altered(other, told, require="none", canary=0.25, seconds=900.0)
    for _ in range(2):  # the second one finds the canary that a killed one had begun
        again = other.json("retrain", "--resume", told["id"])
        assert (again["status"], again["deployed"], again["version"]) == ("succeeded", False, 2)
        assert again["reason"].startswith("it is rolled out as a canary")
        assert other.json("models", "digits")[1]["aliases"] == ["canary", "previous"]
        altered(other, told)
    (directory(other, told) / "outcome.json").write_text("{}")
    assert other.json("rollout", "digits")["order"]["share"] == 0.25
    other.json("rollout", "digits", "--stop")


def test_a_deploy_whose_note_was_lost_is_noted(retrained):
    other, told = retrained
    other.json("deploy", "digits@2", "--require", "none")
    (directory(other, told) / "outcome.json").unlink()
    again = other.json("retrain", "--resume", told["id"])
    assert (again["status"], again["deployed"], again["reason"]) == ("succeeded", True, None)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["retrain"], 2, "NAME and --data DATA are needed, and DATA is digits, mnist"),
        (["retrain", "digits", "--data", "digits", "--require", "accuracy"], 2, "a requirement reads like"),
        (["retrain", "digits", "--resume", "latest", "--epochs", "3"], 2, "leave out NAME, --epochs"),
        (["retrain", "--resume", "20261121T213000123-5f0c9a21"], 1, "there is no training '20261121T213000123-5f0c"),
        (["retrain", "digits", "--data", "digits", "--precision", "int4"], 2, "received 'int4'"),
        (["retrain", "digits", "--data", "nowhere"], 2, "there is no folder"),
    ],
)
def test_a_mistake_gets_a_sentence(retrained, arguments, code, says):
    other, _ = retrained
    done = other.run(*arguments)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr


def test_without_the_run_of_production_a_preset_has_to_be_named(retrained):
    other, told = retrained
    other.json("deploy", "digits@2", "--require", "none")
    run = other.path / "runs" / told["run"]
    run.rename(run.with_name("elsewhere"))
    done = other.run("retrain", "digits", "--data", "digits")
    assert (done.returncode, f"{told['run']} is not in" in done.stderr) == (2, True), done.stderr
    assert "name a preset" in done.stderr
