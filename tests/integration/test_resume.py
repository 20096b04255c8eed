"""A training that is killed for good (SIGKILL, at any moment) goes on, and ends as if nothing had been."""

import json
import os
import random
import signal
import time

import keras
import numpy as np
import pytest

from artifacts.run import Run
from tests.real import Home

EPOCHS = 4
# Everything that has a state of its own: augmentation, BN, a cycled momentum, a rate that falls on plateaus.
TRAINING = [
    "train", "digits", "--preset", "digits", "--epochs", str(EPOCHS), "--set", "augment=shift-flip",
    "--set", "plateau=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    other = Home(tmp_path_factory.mktemp("unbroken"))
    return Run(other.path / "runs" / other.json(*TRAINING)["id"])


def weights(run):
    return keras.saving.load_model(run.model_file).get_weights()


def killed(home, moment):
    """The run that a training leaves when it is killed at `moment`, a function of its history so far."""
    process = home.start(*TRAINING)
    runs = home.path / "runs"
    try:
        while not (found := list(runs.glob("*/config.toml"))) or not moment(found[0].parent):
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    return Run(found[0].parent)


def epochs_done(run_path):
    history = run_path / "history.csv"
    return history.read_text().count("\n") - 1 if history.exists() else 0


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, unbroken, epochs):
    home, delay = Home(tmp_path), random.Random(epochs).uniform(0, 0.2)  # into the middle of the next epoch

    def moment(path):
        if epochs_done(path) < epochs:
            return False
        time.sleep(delay)
        return True

    run = killed(home, moment)
    assert not run.finished
    assert home.json("runs")[0]["finished"] is False
    the_pictures_must_still_be_the_same(home, run)
    resumed = home.json("train", "--resume", "latest")
    assert resumed["id"] == run.id
    for a, b in zip(weights(unbroken), weights(run), strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.metrics() == unbroken.metrics()
    assert epochs_done(run.path) == EPOCHS
    assert not run.checkpoint_file.exists()
    assert home.json("runs")[0]["finished"] is True


def the_pictures_must_still_be_the_same(home, run):
    split = run.path / "split.json"
    before = split.read_bytes()
    split.write_text(json.dumps({**json.loads(before), "digest": "0" * 64}))
    done = home.run("train", "--resume", run.id)
    assert done.returncode == 1
    assert "no longer those" in done.stderr
    split.write_bytes(before)


def test_what_cannot_go_on_is_said(tmp_path, unbroken):
    home = Home(unbroken.path.parents[1])
    for arguments, code, sentence in [
        (["--resume", unbroken.id], 1, "has finished; there is nothing to go on with"),
        (["--resume", "latest"], 1, "none is unfinished"),
        (["--resume", "nowhere"], 1, "there is no run 'nowhere' to go on with"),
        (["--resume", str(tmp_path)], 1, "is not a training run"),
        (["digits", "--resume", "latest", "--epochs", "3"], 2, "leave out DATA, --epochs"),
        ([], 2, "DATA is missing"),
    ]:
        done = home.run("train", *arguments)
        assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
