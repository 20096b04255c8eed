"""The directories of trainings: made in one step, read from outside, carried out by one trainer at a time."""

import json
import threading
from dataclasses import replace

import pytest

from artifacts import settings
from artifacts.errors import TintypeError, WrongUse
from artifacts.store import Reference
from serving.errors import KeyReused, UnknownTraining
from serving.jobs.store import Key
from serving.trainings import work
from serving.trainings.devices import lock_file
from serving.trainings.planning import Planner
from serving.trainings.progress import describe
from serving.trainings.store import Trainings, earlier_run
from serving.trainings.training import COMMAND, REQUEST, WORK, Order, Phase, Status
from serving.trainings.work import Trainer, last_line

ORDER = Order("pets", "/data/pets", overrides={"epochs": "3"}, deploy=True, require="loss <= current", source=REQUEST)
HISTORY = """epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds
1,0.9,0.5,0.8,0.6,0.001,4
2,0.7,0.6,0.6,0.7,0.001,2
"""


@pytest.fixture
def trainings(tmp_path):
    return Trainings(tmp_path / "trainings")


@pytest.fixture
def wanted(tmp_path):
    return settings.read({"TINTYPE_HOME": str(tmp_path)})


def test_a_training_is_made_and_read_back(trainings):
    made = trainings.create(ORDER, "20261121-000000-pets-0000")
    assert made == trainings.get(made.id)
    assert (made.order, made.after, made.status()) == (ORDER, "20261121-000000-pets-0000", Status.QUEUED)
    assert made.run.endswith(made.run[15:])
    assert "-pets-" in made.run
    assert [each.id for each in trainings.active()] == [made.id]
    assert sorted(path.name for path in trainings.root.iterdir()) == [".active", made.id]


def test_one_of_a_command_is_not_for_trainers(trainings):
    made = trainings.create(replace(ORDER, source=COMMAND), None)
    assert (made.status(), trainings.active(), trainings.latest().id) == (Status.PAUSED, [], made.id)
    made.finish(3, None, deployed=True)
    with pytest.raises(UnknownTraining, match="all are over"):
        trainings.latest()


def test_a_key_gives_the_first_ones_answer(trainings):
    first = trainings.create(ORDER, None, Key("key", "digest"))
    assert trainings.create(ORDER, None, Key("key", "digest")) == first
    with pytest.raises(KeyReused):
        trainings.create(ORDER, None, Key("key", "another"))
    assert len(trainings.page(10)) == 1


def test_what_is_no_training_is_said(trainings, tmp_path):
    for name in ("nothing", "../etc", "20261121T213000123-5f0c9a21"):
        with pytest.raises(UnknownTraining, match="there is no training"):
            trainings.get(name)
    made = trainings.create(ORDER, None)
    (made.path / "training.json").write_text("{}")
    with pytest.raises(TintypeError, match="is damaged"):
        trainings.get(made.id)
    assert trainings.page(10) == []


def test_the_status_follows_from_the_files(trainings):
    made = trainings.create(ORDER, None)
    with made.leases.claim(WORK):
        assert made.status() == Status.RUNNING
    assert trainings.cancel(made.id).status() == Status.CANCELLED
    assert made.reason() == "cancelled by request"
    assert trainings.active() == []
    assert trainings.resume(made.id).status() == Status.QUEUED
    assert [each.id for each in trainings.active()] == [made.id]
    made.mark(Status.FAILED, "a reason")
    assert (made.status(), made.reason()) == (Status.FAILED, "a reason")
    trainings.resume(made.id)
    made.finish(3, "it is worse", deployed=False)
    assert (made.status(), trainings.cancel(made.id).status()) == (Status.SUCCEEDED, Status.SUCCEEDED)


def test_progress_is_read_from_the_run(trainings, tmp_path):
    made, runs = trainings.create(ORDER, None), tmp_path / "runs"
    told = describe(made, runs)
    assert (told["status"], told["phase"], told["epoch"], told["epochs"], told["run"]) == (
        "queued",
        None,
        0,
        None,
        None,
    )
    assert told["data"] == "pets"  # where it lies is nobody's business
    (runs / made.run).mkdir(parents=True)
    (runs / made.run / "config.toml").write_text("epochs = 5\n")
    (runs / made.run / "history.csv").write_text(HISTORY)
    made.enter(Phase.TRAINING)
    with made.leases.claim(WORK):
        told = describe(made, runs)
    assert (told["phase"], told["epoch"], told["epochs"], told["eta_seconds"]) == ("training", 2, 5, 9.0)
    assert (told["loss"], told["accuracy"], told["validation_accuracy"]) == (0.7, 0.6, 0.7)
    made.exported(4)
    made.finish(4, "it is worse", deployed=False)
    told = describe(made, runs)
    assert (told["status"], told["phase"], told["version"], told["reason"]) == ("succeeded", None, 4, "it is worse")
    (runs / made.run / "history.csv").write_bytes(b"\xff\x00")
    assert describe(made, runs)["epoch"] == 0


def test_the_recipe_of_production_has_to_be_known(store, publish, manifest, tmp_path):
    runs = tmp_path / "runs"
    assert earlier_run(store, runs, "digits", None) is None  # a new model
    publish()
    store.deploy(Reference("digits"))
    with pytest.raises(WrongUse, match=r"what digits@1 was trained with is not known here .* name a preset"):
        earlier_run(store, runs, "digits", None)
    assert earlier_run(store, runs, "digits", "cnn") is None
    manifest["run"] = {"id": "a-run"}
    publish()
    store.deploy(Reference("digits"))
    (runs / "a-run").mkdir(parents=True)
    (runs / "a-run" / "config.toml").write_text("")
    assert earlier_run(store, runs, "digits", None) == "a-run"


def test_waiting_trainings_are_sent_and_sent_again_when_nothing_came_of_it(trainings, monkeypatch):
    made = [trainings.create(ORDER, None).id for _ in range(6)]
    sent = []
    planner = Planner(trainings, sent.append)
    planner.turn()
    planner.turn()
    assert sent == sorted(made)[:4]
    monkeypatch.setattr("serving.trainings.planning.AGAIN_SECONDS", 0.0)
    with trainings.get(min(made)).leases.claim(WORK):
        planner.turn()
    assert sent[4:] == sorted(made)[1:5]


def test_a_device_has_one_lock_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1/../x")
    assert lock_file(tmp_path).parent == tmp_path
    first = lock_file(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert lock_file(tmp_path) != first
    assert lock_file(tmp_path).name.endswith("-none.lock")


@pytest.fixture
def child(monkeypatch, tmp_path):
    """`child(code)`: have trainers run this Python in the place of `tintype retrain`, with the training's path."""

    def replaced(code):
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / "tintype.py").write_text(f"import os, pathlib, sys, time\n{code}\n")
        monkeypatch.setattr(work, "environment", lambda _: {"PYTHONPATH": str(tmp_path / "code")})

    return replaced


def test_a_trainer_runs_a_child_and_keeps_what_it_says_with_the_run(trainings, wanted, child):
    made = trainings.create(ORDER, None)
    (wanted.runs / made.run).mkdir(parents=True)
    outcome = json.dumps({"version": 1, "deployed": True, "reason": None})
    target = str(made.path / "outcome.json")
    child(f"print(*sys.argv[1:4], os.getppid()); pathlib.Path({target!r}).write_text({outcome!r})")
    Trainer(wanted).carry_out(made.id)
    assert made.status() == Status.SUCCEEDED
    said = made.log.read_text().splitlines()
    assert said[0].startswith("--- 20")
    assert said[1].startswith(f"retrain --resume {made.id} ")
    assert (wanted.runs / made.run / "retrain.log").read_text() == made.log.read_text()
    assert made.leases.claims() == {}


def test_a_training_that_ends_again_and_again_at_the_same_point_has_failed(trainings, wanted, child, caplog):
    made = trainings.create(ORDER, None)
    child("print('the last words', flush=True); os.abort()")
    trainer = Trainer(wanted)
    for _ in range(work.TRIES):
        assert made.status() == Status.QUEUED
        trainer.carry_out(made.id)
    assert "ended with -6; it is tried again: the last words" in caplog.text
    trainer.carry_out(made.id)
    assert made.reason() == "it ended 5 times at the same point; the last words of its log: the last words"
    trainings.resume(made.id)
    made.enter(Phase.EXPORTING)
    trainer.carry_out(made.id)
    assert made.status() == Status.QUEUED


def test_what_is_cancelled_or_closed_is_stopped(trainings, wanted, child, eventually):
    made = trainings.create(ORDER, None)
    child("print('begun', flush=True); time.sleep(600)")
    trainer = Trainer(wanted)
    trainer.take(made.id)
    eventually(lambda: made.log.exists() and "begun" in made.log.read_text(), 60)
    assert made.status() == Status.RUNNING
    trainer.take(trainings.create(ORDER, None).id)  # one at a time
    trainings.cancel(made.id)
    eventually(lambda: not made.leases.claims(), 60)
    assert made.status() == Status.CANCELLED
    trainings.resume(made.id)
    eventually(lambda: not any(each.name.startswith("train-") for each in threading.enumerate()), 60)
    trainer.take(made.id)
    eventually(lambda: made.log.read_text().count("begun") == 2, 60)
    trainer.close()
    assert (made.status(), made.leases.note("deaths").exists()) == (Status.QUEUED, False)
    trainer.take(made.id)
    assert made.status() == Status.QUEUED


def test_the_last_line_of_a_log_is_found_behind_a_bar(tmp_path):
    (tmp_path / "log").write_bytes(b"first\nbar 1%\rbar 2%\rtintype: a sentence\n\n")
    assert last_line(tmp_path / "log") == "tintype: a sentence"
    (tmp_path / "log").write_bytes(b"")
    assert last_line(tmp_path / "log") == "nothing"
