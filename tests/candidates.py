"""Versions of every kind beside those in production: good, worse, slow, failing, damaged; and what they come to."""

import itertools
import json
import shutil
import threading
import time
from collections import Counter
from contextlib import contextmanager

from artifacts import files, rollouts
from artifacts.audit import Note
from artifacts.bundle import digest
from artifacts.rollouts import Gates, Order, Status
from artifacts.store import parse
from tests.deployment import until

MODELS = ("good", "worse", "slow", "failing", "damaged")
# Generous: the figures of the gates are tested elsewhere, and a machine may be busy.
GATES = Gates(latency=2.0, requests=5)
PATIENT = Gates(latency=50.0, requests=5)
LONG_SECONDS = 300.0  # of those that are taken back long before
HALF = 0.5
PROGRAM = ("-m", "tests.troubled")


def publish(store, digits):
    """Two versions of each model, copies of the version at `digits`; the first of them in production."""
    for name in MODELS:
        for version in (1, 2):
            shutil.copytree(digits, store.path(name, version))
            _seal_anew(store.path(name, version), name=name, version=version)
        store.deploy(parse(f"{name}@1"))
    _seal_anew(store.path("worse", 2), labels=[str((digit + 1) % 10) for digit in range(10)])


def _seal_anew(folder, **changes):
    path = folder / "manifest.json"
    body = {**json.loads(path.read_bytes()), **changes}
    files.write_json(path, {**body, "sha256": digest(body)})


def begin(store, name, seconds=LONG_SECONDS):
    """A rollout of a second version."""
    order = Order("canary", HALF, seconds, GATES if name == "slow" else PATIENT)
    rollouts.start(store, parse(f"{name}@2"), order, Note("anna"))


def begin_with_damage(store):
    """The rollout of the damaged one; before any server has loaded it."""
    begin(store, "damaged")
    onnx = store.path("damaged", 2) / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")


@contextmanager
def _asking(client, names, data):
    """Requests for each of the models by turns, until the block ends: [(name, status, version)]."""
    answers, over = [], threading.Event()

    def ask():
        for name in itertools.cycle(names):
            if over.is_set():
                return
            status, answer = client.predict(data, f"?model={name}")
            answers.append((name, status, answer.get("model", {}).get("version"), answer.get("code")))
            time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _stands(store, name):
    return rollouts.history(store.root / name, 1)[0]


def check(store):
    """Each came to the end that it must come to."""
    found = {name: _stands(store, name) for name in MODELS}
    reasons = {name: each.reason for name, each in found.items()}
    assert {name: each.status for name, each in found.items()} == {
        "good": Status.PROMOTED, "worse": Status.TAKEN_BACK, "slow": Status.TAKEN_BACK, "failing": Status.TAKEN_BACK,
        "damaged": Status.TAKEN_BACK,
    }, reasons  # fmt: skip
    assert "gave another label than production" in reasons["worse"]
    assert "has a p95 of" in reasons["slow"]
    assert "failed" in reasons["failing"]
    assert "model.onnx was altered" in reasons["damaged"]
    assert store.aliases("good") == {"production": 2, "previous": 1}
    for name in MODELS[1:]:
        assert store.aliases(name) == {"production": 1}
    assert found["worse"].measured["disagreements"]
    assert found["good"].measured["requests"] >= PATIENT.requests


def _over(store):
    return all(_stands(store, name).status != Status.RUNNING for name in MODELS)


def watch(store, client, data, seconds):
    """Requests for all of them until all are over: none fails, and each came to its end. The good one has `seconds`."""
    for name in MODELS[:-1]:
        begin(store, name, seconds if name == "good" else LONG_SECONDS)
    with _asking(client, MODELS, data) as answers:
        until(lambda: _over(store), LONG_SECONDS + 60, "some are not over")
        check(store)
        until(lambda: ("good", 200, 2, None) in answers[-20:], 60, "what was promoted does not answer")
    assert Counter(status for _, status, *_ in answers) == {200: len(answers)}
    asked = {name: {version for model, _, version, _ in answers if model == name} for name in MODELS}
    assert asked["good"] == asked["worse"] == asked["slow"] == {1, 2}
    assert asked["failing"] == asked["damaged"] == {1}
    _, shown = client.get("/models/worse")
    assert shown["rollouts"][0]["status"] == "taken back"
    assert [line["action"] for line in shown["audit"]] == ["deploy", "canary", "take back"]
    assert client.get("/models/good")[1]["audit"][-1]["action"] == "promote"
