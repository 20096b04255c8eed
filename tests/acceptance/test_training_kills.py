"""`kill -9` of the trainer, or of the process that it leads, in each phase: gone on from, with production untouched."""

import contextlib
import json
import os
import random
import shutil
import time
from functools import partial

import psutil
import pytest

from artifacts.bundle import verify
from artifacts.run import Run
from artifacts.store import Store
from serving.trainings.store import Trainings
from serving.trainings.training import Status
from tests.deployment import Deployment, undelayed_redis, until
from tests.real import Home

SEED = int(os.environ.get("KILLS_SEED", str(time.time_ns() % 1_000_000)))
SECONDS = 900  # for a phase, on a machine with other work
ORDER = {
    "name": "digits", "data": "digits", "set": {"epochs": 6}, "precision": "fp32", "deploy": True,
    "require": "accuracy >= 0.5",
}  # fmt: skip
WITHIN = {"training": 1.0, "exporting": 4.0, "comparing": 0.5, "deploying": 0.2}  # seconds, until the kill


@pytest.fixture
def deployment(digits, tmp_path):
    """A server, a Redis and a home of its own, with digits@1 in production."""
    home = Home(tmp_path / "home")
    for folder in ("runs", "models"):
        shutil.copytree(digits.path / folder, home.path / folder)
    made = Deployment(home, undelayed_redis(tmp_path / "redis").start(), tmp_path, TINTYPE_API_PROCESSES="1")
    yield made
    made.end()
    refused = made.redis.refusals()
    made.redis.stop()
    assert not refused  # what docker-compose.yml lets an API and a trainer do suffices


def trainer(deployment):
    return deployment.worker("--queues", "train", TINTYPE_REDIS_URL=deployment.redis.url_of("trainer"))


def ordered(server, **changes):
    body = json.dumps({**ORDER, **changes})
    status, _, told = server.client.request("POST", "/trainings", body, Content_Type="application/json")
    assert status == 202, told
    return json.loads(told)["id"]


def child_of(program):
    """The process that a trainer leads, if there is one."""
    for each in program.family()[1:]:
        with contextlib.suppress(psutil.Error):  # it has ended
            if "retrain" in each.cmdline() and each.status() != psutil.STATUS_ZOMBIE:
                return each
    return None


def gone(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def epochs_of(home, training):
    path = home.path / "runs" / training.run / "history.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


def reached(home, training, phase):
    """Whether a phase has begun, and of the training itself an epoch is done; also when all is over already."""
    assert training.status() != Status.FAILED, training.reason()
    if training.outcome():
        return True
    return training.phase() == phase and (phase != "training" or epochs_of(home, training) > 0)


def went_on(worker, training):
    return bool(child_of(worker) or training.outcome())


@pytest.mark.parametrize("victim", ["trainer", "child"])
def test_a_training_that_is_killed_in_every_phase_comes_to_its_end(deployment, tell, victim):
    home, chosen = deployment.home, random.Random(SEED)
    tell(f"KILLS_SEED={SEED}, the victim is the {victim}")
    server, worker, store = deployment.server(), trainer(deployment), Store(home.path / "models")
    began = time.monotonic()
    training = Trainings(home.path / "trainings").get(ordered(server))
    killed = 0
    for phase, within in WITHIN.items():
        until(partial(reached, home, training, phase), SECONDS, f"{phase} was not reached", pause=0.001)
        time.sleep(chosen.uniform(0, within))
        child, epochs = child_of(worker), epochs_of(home, training)
        if child is None:
            tell(f"{phase}: it was over before the kill")
            continue
        (worker.process if victim == "trainer" else child).kill()
        moment, killed = time.monotonic(), killed + 1
        until(partial(gone, child), 30, "the child lives on")
        aliases = store.aliases("digits")
        assert aliases == {"production": 1} or phase == "deploying"
        verify(store.path("digits", aliases["production"]))
        if victim == "trainer":
            worker.process.wait(30)
            worker = trainer(deployment)
        until(partial(went_on, worker, training), SECONDS, "nobody went on with it")
        tell(f"{phase}: killed after {epochs} epochs, gone on with after {time.monotonic() - moment:.1f} s")
    until(training.outcome, SECONDS, "it did not come to its end")
    tell(f"{killed} kills; over after {time.monotonic() - began:.0f} s")
    assert killed >= 3
    status, told = server.client.get(f"/trainings/{training.id}")
    assert (status, told["status"], told["deployed"], told["version"]) == (200, "succeeded", True, 2)
    assert store.aliases("digits") == {"production": 2, "previous": 1}
    assert store.versions("digits") == [1, 2]  # the export that was killed left nothing, and none was made twice
    assert not list(store.root.glob("digits/.tmp-*"))
    assert verify(store.path("digits", 2)).manifest["run"]["id"] == training.run
    assert Run(home.path / "runs" / training.run).finished
    assert epochs_of(home, training) == 6
    assert len(list((home.path / "runs").iterdir())) == 2
    log = home.path / "runs" / training.run / "retrain.log"
    until(lambda: log.exists() and log.read_bytes() == training.log.read_bytes(), 30, "the run has not the log")


def test_a_training_is_cancelled_and_goes_on(deployment):
    home, server, worker = deployment.home, deployment.server(), trainer(deployment)
    training = Trainings(home.path / "trainings").get(ordered(server, set={"epochs": 1000}))
    until(lambda: epochs_of(home, training) > 0, SECONDS, "it does not train")
    child = child_of(worker)
    assert server.client.get(f"/trainings/{training.id}")[1]["eta_seconds"] > 0
    assert server.client.request("POST", f"/trainings/{training.id}/cancel")[0] == 200
    until(partial(gone, child), 60, "the child lives on")
    done = epochs_of(home, training)
    until(lambda: not training.leases.claims(), 60, "the trainer has not given it back")
    assert server.client.get(f"/trainings/{training.id}")[1]["status"] == "cancelled"
    assert server.client.request("POST", f"/trainings/{training.id}/resume")[0] == 202
    until(lambda: epochs_of(home, training) > done, SECONDS, "it does not go on")
    assert worker.stop() == 0  # SIGTERM: what is at work is left for the next trainer
    assert server.client.get(f"/trainings/{training.id}")[1]["status"] == "queued"


def test_what_can_never_be_done_fails_after_a_few_deaths_and_production_stays(deployment, tell):
    home = deployment.home
    server, worker = deployment.server(), trainer(deployment)
    training = Trainings(home.path / "trainings").get(ordered(server))
    deaths = 0
    while training.status() != Status.FAILED:
        child = child_of(worker)
        if child:
            child.kill()
            deaths += 1
            until(partial(gone, child), 60, "it lives on")
        time.sleep(0.01)
    tell(f"failed after {deaths} deaths: {training.reason()}")
    assert deaths <= 6
    assert server.client.get(f"/trainings/{training.id}")[1]["status"] == "failed"
    assert Store(home.path / "models").aliases("digits") == {"production": 1}
