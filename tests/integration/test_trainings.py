"""Trainings over HTTP, without Redis: a server that trains in a child of its own."""

import json
import shutil
import time

import pytest

from tests.real import Home, serving

SECONDS = 600  # a training on a machine with other work
ORDER = {"name": "digits", "data": "digits", "set": {"epochs": 1}, "precision": "fp32", "deploy": True}


@pytest.fixture(scope="module")
def trained_on(home, tmp_path_factory):
    """A client of a server on a copy of `home`, and that home."""
    other = Home(tmp_path_factory.mktemp("trained-on"))
    shutil.copytree(home.path / "runs", other.path / "runs")
    shutil.copytree(home.path / "models" / "digits", other.path / "models" / "digits")
    (other.path / "data" / "pets").mkdir(parents=True)
    with serving(other, TINTYPE_FOLDERS=str(other.path / "data"), TINTYPE_API_PROCESSES="1") as (_, client):
        yield client, other


def post(client, path, body=None, **headers):
    data = None if body is None else json.dumps(body)
    status, answered, text = client.request("POST", path, data, Content_Type="application/json", **headers)
    return status, answered, json.loads(text)


def until(client, name, condition):
    """The training, once the condition holds for it."""
    end = time.monotonic() + SECONDS
    while True:
        status, told = client.get(f"/trainings/{name}")
        assert status == 200
        if condition(told):
            return told
        assert time.monotonic() < end, told
        time.sleep(0.2)


def test_a_worse_version_is_made_and_not_deployed_and_says_why(trained_on, eventually):
    client, other = trained_on
    status, headers, told = post(client, "/trainings", ORDER, Idempotency_Key="once")
    assert (status, headers["location"]) == (202, f"/trainings/{told['id']}")
    assert (told["status"], told["phase"], told["deploy"]) == ("queued", None, True)
    record = json.loads((other.path / "trainings" / told["id"] / "training.json").read_text())
    assert record["order"]["who"] == "127.0.0.1"  # as the audit will have it
    assert post(client, "/trainings", ORDER, Idempotency_Key="once")[2]["id"] == told["id"]
    status, _, refused = post(client, "/trainings", {**ORDER, "deploy": False}, Idempotency_Key="once")
    assert (status, refused["code"]) == (422, "key_reused")

    running = until(client, told["id"], lambda now: now["phase"])
    assert (running["status"], running["phase"]) == ("running", "training")
    over = until(client, told["id"], lambda now: now["status"] != "running")
    assert (over["status"], over["deployed"], over["version"], over["phase"]) == ("succeeded", False, 2, None)
    assert over["reason"].startswith("digits@2 is not good enough for production: accuracy 0.")
    assert (over["epoch"], over["epochs"], over["comparison"]["passed"]) == (1, 1, False)
    assert over["comparison"]["current"]["accuracy"] > over["comparison"]["candidate"]["accuracy"]
    assert other.json("models", "digits")[0]["aliases"] == ["production"]

    _, headers, page = client.request("GET", f"/trainings/{told['id']}/comparison")
    assert headers["content-type"].startswith("text/html")
    assert b"not good enough" in page
    said = client.request("GET", f"/trainings/{told['id']}/log")[2]
    assert b"epoch 1/1" in said
    kept = other.path / "runs" / over["run"] / "retrain.log"
    eventually(lambda: kept.exists() and kept.read_bytes() == said, 60)
    status, _, events = client.request("GET", f"/trainings/{told['id']}/events")
    assert (status, events.splitlines()[0]) == (200, b"event: end")
    assert [each["id"] for each in client.get("/trainings")[1]["trainings"]] == [told["id"]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "name and data must be given"),
        ({"name": "digits"}, "data must be given"),
        ({**ORDER, "data": "../models"}, "there is no folder '../models' under the roots that TINTYPE_FOLDERS allows"),
        ({**ORDER, "data": "/etc"}, "there is no folder '/etc'"),
        ({**ORDER, "name": "A!"}, "received 'A!'"),
        ({**ORDER, "require": "accuracy"}, "a requirement reads like"),
        ({**ORDER, "set": {"epochs": [3]}}, "set takes texts and numbers"),
        ({**ORDER, "deploy": "yes"}, "deploy must be true or false"),
        ({**ORDER, "precision": "int4"}, "precision must be some of fp32,fp16,int8"),
        ({**ORDER, "presett": "cnn"}, "did you mean 'preset'"),
    ],
)
def test_an_order_that_makes_no_sense_gets_a_sentence(trained_on, body, says):
    client, _ = trained_on
    status, _, told = post(client, "/trainings", body)
    assert (status, says in told["detail"]) == (400, True), told


def test_what_cannot_be_trained_on_fails_with_a_sentence(trained_on):
    client, _ = trained_on
    name = post(client, "/trainings", {"name": "pets", "data": "pets"})[2]["id"]
    told = until(client, name, lambda now: now["status"] not in ("queued", "running"))
    assert (told["status"], "pets" in told["reason"]) == ("failed", True)
    assert client.get("/trainings/nothing")[0] == 404
