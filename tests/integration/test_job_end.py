"""What comes after a job, over HTTP against real processes: its webhook, the limit on those who watch, its deletion."""

import http.client
import json
import os
import shutil
import time
from contextlib import ExitStack

import pytest

from artifacts.store import Store
from serving.api.jobs import WATCHERS
from serving.jobs.retention import DAY
from serving.jobs.store import Jobs, Order, moment
from tests.real import Home, serving
from tests.receiver import SECRET, receiving

FAR = 120  # seconds
FILES = 20


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def folder(tmp_path, pictures):
    (tmp_path / "roots" / "pictures").mkdir(parents=True)
    for number in range(FILES):
        (tmp_path / "roots" / "pictures" / f"{number:02d}.png").write_bytes(pictures.encoded[number])
    return tmp_path / "roots" / "pictures"


@pytest.fixture
def mine(home, tmp_path, folder, receiver):
    """A home of its own, whose servers and workers may tell the receiver."""
    shutil.copytree(home.path / "models", tmp_path / "home" / "models")
    (tmp_path / "secret").write_text(SECRET)
    made = Home(tmp_path / "home")
    made.environment |= {
        "TINTYPE_API_PROCESSES": "1",
        "TINTYPE_FOLDERS": str(folder.parent),
        "TINTYPE_WEBHOOK_HOSTS": f"127.0.0.1:{receiver.port}",
        "TINTYPE_WEBHOOK_SECRET": str(tmp_path / "secret"),
    }
    return made


def wait(condition):
    end = time.monotonic() + FAR
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.02)


def order(client, **more):
    body = json.dumps({"folder": "pictures", **more}).encode()
    status, _, answer = client.request("POST", "/jobs", body, Content_Type="application/json")
    return status, json.loads(answer)


def told_state(client, name):
    return client.get(f"/jobs/{name}")[1]["webhook"]["state"]


@pytest.mark.parametrize("way", ["alone", "workers"])
def test_the_end_of_a_job_is_told_and_signed_until_it_is_accepted(mine, receiver, way, request):
    receiver.statuses = [500]
    with ExitStack() as stack:
        if way == "workers":
            mine.environment["TINTYPE_REDIS_URL"] = request.getfixturevalue("redis_server").url
            worker = mine.start("worker")
            stack.callback(worker.communicate, timeout=60)
            stack.callback(worker.terminate)
        _, client = stack.enter_context(serving(mine))
        url = f"http://127.0.0.1:{client.port}"
        done = mine.run("classify", "pictures", "--url", url, "--webhook", receiver.address)
        assert done.returncode == 0, done.stderr
        name = done.stdout.splitlines()[-1]
        wait(lambda: told_state(client, name) == "delivered")
        final = client.get(f"/jobs/{name}")[1]
        first, second = receiver.got
        assert first.id == second.id
        assert first.is_signed()
        assert second.is_signed()
        assert first.body == second.body
        assert json.loads(first.body) == final | {"webhook": {"state": "waiting", "attempts": 0, "answer": None}}
        assert (final["status"], final["webhook"]["attempts"]) == ("succeeded", 2)

        assert client.request("POST", f"/jobs/{name}/retry-rejects")[0] == 202
        wait(lambda: len(receiver.got) == 3)
        assert receiver.got[2].id != first.id
        refused = mine.run("classify", "pictures", "--url", url, "--webhook", "http://169.254.169.254/latest")
        assert refused.returncode == 2
        assert "which TINTYPE_WEBHOOK_HOSTS does not allow" in refused.stderr


def test_a_kill_in_the_middle_of_an_attempt_repeats_it_with_the_same_id(mine, receiver):
    receiver.go_on.clear()
    with serving(mine) as (process, client):
        status, told = order(client, webhook=receiver.address)
        assert status == 202
        wait(lambda: receiver.got)
        assert client.get(f"/jobs/{told['id']}")[1]["status"] == "succeeded"  # it waited for nobody
        process.kill()
    receiver.go_on.set()
    with serving(mine) as (_, client):
        wait(lambda: told_state(client, told["id"]) == "delivered")
    first, second = receiver.got
    assert first.id == second.id
    assert first.body == second.body


def test_without_a_secret_no_webhook_is_taken(mine):
    mine.environment |= {"TINTYPE_WEBHOOK_SECRET": "/none"}
    with serving(mine) as (_, client):
        status, problem = order(client, webhook=f"http://{mine.environment['TINTYPE_WEBHOOK_HOSTS']}/")
    assert (status, problem["code"]) == (503, "not_now")
    assert "TINTYPE_WEBHOOK_SECRET must name a file" in problem["detail"]
    alone = mine.run("classify", "pictures", "--webhook", "http://127.0.0.1/")
    assert (alone.returncode, "--webhook goes with --url" in alone.stderr) == (2, True)


def test_those_who_watch_take_no_thread_from_those_who_wait_for_a_picture(mine, folder, pictures):
    version = Store(mine.path / "models").catalogue("digits")[0]
    model = {key: version[key] for key in ("name", "version", "sha256")}
    endless = Jobs(mine.path / "jobs").create(Order(folder.parent / "nowhere", model, 10**6))
    with serving(mine) as (_, client), ExitStack() as stack:
        for _ in range(WATCHERS):
            connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
            stack.callback(connection.close)
            connection.request("GET", f"/jobs/{endless.id}/events")
            response = connection.getresponse()
            assert (response.status, response.readline()) == (200, b"event: progress\n")
        status, headers, body = client.request("GET", f"/jobs/{endless.id}/events")
        assert (status, json.loads(body)["code"], "retry-after" in headers) == (429, "queue_full", True)
        assert f"ask for /jobs/{endless.id} every few seconds instead" in json.loads(body)["detail"]
        assert client.predict(pictures.encoded[0])[0] == 200
        assert client.predict_form([("a.png", pictures.encoded[0])])[0] == 200
        assert client.get(f"/jobs/{endless.id}")[0] == 200


def test_jobs_that_have_been_over_for_long_are_deleted_and_the_log_says_how_many(mine, folder, monkeypatch):
    jobs = Jobs(mine.path / "jobs")
    version = Store(mine.path / "models").catalogue("digits")[0]
    model = {key: version[key] for key in ("name", "version", "sha256")}
    with monkeypatch.context() as patch:
        patch.setattr("serving.jobs.store.moment", lambda _: moment(time.time() - 9 * DAY))
        old, late, endless = (jobs.create(Order(place, model, 10**6)) for place in (None, folder, folder / "none"))
    for job, days in ((old, 8), (late, 1)):
        jobs.cancel(job.id)
        os.utime(job.path / "cancelled", (time.time() - days * DAY,) * 2)
    with serving(mine, TINTYPE_JOB_DAYS="7") as (process, client):
        wait(lambda: not old.path.exists())
        assert [job["id"] for job in client.get("/jobs")[1]["jobs"]] == sorted([late.id, endless.id], reverse=True)
        assert client.get(f"/jobs/{old.id}")[0] == 404
        process.terminate()
        process.wait(30)
        assert "1 jobs deleted that were over for more than 7 days" in process.stderr.read().decode()
