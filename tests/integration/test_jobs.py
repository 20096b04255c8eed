"""Folder jobs over HTTP, with real processes: a server alone, and a server with Redis and workers."""

import csv
import io
import json
import re
import shutil
import signal
import time
from contextlib import ExitStack, contextmanager

import psutil
import pyarrow.parquet
import pytest

from artifacts.store import Reference, Store
from serving.jobs.job import Plan
from serving.jobs.store import Jobs, Order
from tests.jobs import kill_decoders
from tests.real import Home, form, serving

RESULTS = ("results.csv", "results.parquet", "results.jsonl", "rejects.csv", "contact_sheet.html", "summary.json")
FAR = 120  # seconds
FILES = 600  # two chunks


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pictures):
    """600 files in folders, some of them damaged, some no pictures."""
    root = tmp_path_factory.mktemp("roots") / "pictures"
    for number in range(FILES - 4):
        place = root / f"{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04d}, ä.png").write_bytes(pictures.encoded[number % len(pictures.encoded)])
    for number in range(3):
        (root / f"cut-{number}.png").write_bytes(pictures.encoded[number][: 40 + number])
    (root / "notes.txt").write_text("not a picture")
    (root / "out").symlink_to("/etc")
    (root / ".hidden.png").write_bytes(pictures.encoded[0])
    return root


@pytest.fixture(scope="module")
def expected(home, folder, tmp_path_factory):
    """What `tintype classify` makes of the folder."""
    out = tmp_path_factory.mktemp("expected")
    home.json("classify", folder, "--out", out)
    return read(out)


class Place:
    """A home with digits in production, a server, and perhaps workers."""

    def __init__(self, home, client, redis):
        self.home, self.client, self.redis = home, client, redis
        self.jobs = Jobs(home.path / "jobs")

    def order(self, body, **headers):
        text = json.dumps(body).encode()
        status, given, answer = self.client.request("POST", "/jobs", text, Content_Type="application/json", **headers)
        return status, given, json.loads(answer)

    def job(self, body):
        status, _, told = self.order(body)
        assert status == 202, told
        return told["id"]

    def post(self, path):
        status, _, answer = self.client.request("POST", path)
        return status, json.loads(answer)

    def told(self, name):
        status, told = self.client.get(f"/jobs/{name}")
        assert status == 200
        return told

    def over(self, name, seconds=FAR):
        end = time.monotonic() + seconds
        while (told := self.told(name))["status"] not in ("succeeded", "failed", "cancelled"):
            assert time.monotonic() < end, told
            time.sleep(0.05)
        return told

    def results(self, name):
        return read(self.jobs.root / name)


def read(job):
    return {name: (job / name).read_bytes() for name in RESULTS}


def copied(home, path):
    """Another home with the same models."""
    shutil.copytree(home.path / "models", path / "models")
    return Home(path)


@contextmanager
def working(home, redis, **settings):
    """A worker, until it is told to stop."""
    process = home.start("worker", TINTYPE_REDIS_URL=redis.url_of("worker"), **settings)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module", params=["alone", "workers"])
def place(request, home, folder, tmp_path_factory):
    mine = copied(home, tmp_path_factory.mktemp("place"))
    mine.environment["TINTYPE_FOLDERS"] = str(folder.parent)
    with ExitStack() as stack:
        redis, more = None, {}
        if request.param == "workers":
            redis = request.getfixturevalue("shared_redis")
            redis.flush()
            more = {"TINTYPE_REDIS_URL": redis.url_of("api")}
            stack.enter_context(working(mine, redis))
        _, client = stack.enter_context(serving(mine, **more))
        yield Place(mine, client, redis)


def test_a_folder_becomes_the_table_that_classify_makes_of_it(place, expected):
    status, headers, told = place.order({"folder": "pictures"})
    assert status == 202
    assert headers["location"] == f"/jobs/{told['id']}"
    assert told["status"] in ("queued", "running")
    done = place.over(told["id"])
    assert (done["status"], done["total"], done["done"], done["rejected"]) == ("succeeded", FILES + 1, FILES + 1, 5)
    assert done["hidden"] == 1
    version = Store(place.home.path / "models").catalogue("digits")[0]
    assert done["model"] == {"name": "digits", "version": 1, "sha256": version["sha256"], "variant": "fp32"}
    assert place.results(told["id"]) == expected


def test_the_results_are_fetched_in_every_format(place, expected):
    name = place.job({"folder": "pictures"})
    place.over(name)
    for kind, file in (("csv", "results.csv"), ("jsonl", "results.jsonl"), ("parquet", "results.parquet")):
        status, headers, body = place.client.request("GET", f"/jobs/{name}/results?format={kind}")
        assert (status, body) == (200, expected[file])
        assert f"{name}.{kind}" in headers["content-disposition"]
    status, headers, body = place.client.request("GET", f"/jobs/{name}/contact-sheet")
    assert (status, body) == (200, expected["contact_sheet.html"])
    assert headers["content-type"].startswith("text/html")
    lines = [json.loads(line) for line in expected["results.jsonl"].splitlines()]
    assert len(lines) == pyarrow.parquet.read_table(io.BytesIO(expected["results.parquet"])).num_rows
    assert [line["path"] for line in lines] == [row["path"] for row in rows(expected)]


def rows(results):
    return list(csv.DictReader(io.StringIO(results["results.csv"].decode(), newline="")))


def test_pictures_that_come_with_the_request_are_classified_in_their_order(place, pictures):
    files = [("b/../b.png", pictures.encoded[1]), ("a.png", pictures.encoded[0]), ("c.txt", b"no picture")]
    body, content_type = form(files)
    status, _, answer = place.client.request("POST", "/jobs", body, Content_Type=content_type)
    assert status == 202, answer
    told = place.over(json.loads(answer)["id"])
    found = rows(place.results(told["id"]))
    assert [row["path"] for row in found] == ["000000-b.png", "000001-a.png", "000002-c.txt"]
    predicted = place.client.predict(pictures.encoded[0])[1]["predictions"][0]
    assert (found[1]["label"], float(found[1]["confidence"])) == (predicted["label"], predicted["confidence"])
    assert found[2]["error"].startswith("not_an_image")
    assert told["source"] == "upload"


def test_a_manifest_with_labels_gives_an_accuracy_and_a_confusion_matrix(place, folder, expected):
    known = [row for row in rows(expected) if row["label"]][:50]
    manifest = folder.parent / "labels.jsonl"
    lines = [{"path": f"pictures/{row['path']}", "label": row["label"]} for row in known]
    lines[0]["label"], lines[1]["path"] = "nothing", "../../../../../../etc/hostname"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    told = place.over(place.job({"manifest": "labels.jsonl", "model": "digits", "alias": "production"}))
    summary = json.loads(place.results(told["id"])["summary.json"])
    assert (told["total"], told["rejected"], told["source"]) == (50, 1, "manifest")
    assert (summary["labelled"], summary["accuracy"]) == (50, 0.96)
    assert summary["confusion_matrix"]["nothing"] == {known[0]["label"]: 1}
    assert summary["confusion_matrix"][known[1]["label"]][""] == 1
    assert "the path leads out of the manifest's folder" in rows(place.results(told["id"]))[1]["error"]


def test_the_same_key_makes_one_job(place):
    first = place.order({"folder": "pictures"}, Idempotency_Key="once")
    again = place.order({"folder": "pictures"}, Idempotency_Key="once")
    other = place.order({"folder": "pictures", "priority": 1}, Idempotency_Key="once")
    assert (again[0], again[2]["id"]) == (202, first[2]["id"])
    assert (other[0], other[2]["code"]) == (422, "key_reused")
    place.over(first[2]["id"])


def test_jobs_are_listed_newest_first_in_pages(place):
    made = [place.job({"folder": "pictures/1"}) for _ in range(3)]
    status, page = place.client.get("/jobs?limit=2")
    assert (status, [job["id"] for job in page["jobs"]]) == (200, made[:0:-1])
    _, rest = place.client.get(f"/jobs?limit=1&before={page['before']}")
    assert [job["id"] for job in rest["jobs"]] == made[:1]
    seen, before = [], ""
    while before is not None:
        _, page = place.client.get(f"/jobs?limit=2{before and '&before=' + before}")
        seen, before = seen + [job["id"] for job in page["jobs"]], page["before"]
    assert seen[:3] == made[::-1]
    assert seen == sorted(set(seen), reverse=True)
    for name in made:
        assert place.over(name)["status"] == "succeeded"


def test_a_job_is_cancelled_resumed_and_deleted(place, expected):
    name = place.job({"folder": "pictures"})
    status, told = place.post(f"/jobs/{name}/cancel")
    assert (status, told["status"]) == (200, "cancelled")
    status, _, body = place.client.request("GET", f"/jobs/{name}/results")
    assert (status, json.loads(body)["code"]) == (409, "not_finished")
    status, told = place.post(f"/jobs/{name}/resume")
    assert status == 202
    status, _, body = place.client.request("DELETE", f"/jobs/{name}")
    assert (status, json.loads(body)["code"]) == (409, "not_finished")
    assert place.over(name)["status"] == "succeeded"
    assert place.results(name) == expected
    assert place.client.request("DELETE", f"/jobs/{name}")[0] == 204
    assert place.client.get(f"/jobs/{name}")[0] == 404


def test_rejects_are_tried_again(place, expected):
    name = place.job({"folder": "pictures"})
    place.over(name)
    status, told = place.post(f"/jobs/{name}/retry-rejects")
    assert (status, told["status"]) == (202, "running")
    assert place.over(name)["rejected"] == 5
    assert place.results(name) == expected


def test_a_reject_that_was_mended_has_a_label_when_it_is_tried_again(place, folder, pictures):
    mended = folder.parent / f"mended-{place.redis is None}"
    mended.mkdir()
    for number in range(3):
        (mended / f"{number}.png").write_bytes(pictures.encoded[number][: None if number else 40])
    name = place.job({"folder": mended.name})
    assert place.over(name)["rejected"] == 1
    kept = rows(place.results(name))[1:]
    (mended / "0.png").write_bytes(pictures.encoded[0])
    assert place.post(f"/jobs/{name}/retry-rejects")[0] == 202
    assert place.over(name)["rejected"] == 0
    first, *others = rows(place.results(name))
    assert first["label"] == place.client.predict(pictures.encoded[0])[1]["predictions"][0]["label"]
    assert others == kept


def test_events_tell_the_progress_until_the_end(place):
    name = place.job({"folder": "pictures"})
    status, headers, body = place.client.request("GET", f"/jobs/{name}/events")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    events = re.findall(r"event: (\w+)\ndata: (.+)\n\n", body.decode())
    assert {kind for kind, _ in events[:-1]} <= {"progress"}
    assert events[-1][0] == "end"
    assert json.loads(events[-1][1])["status"] == "succeeded"
    done = [json.loads(data)["done"] for _, data in events]
    assert done == sorted(done)
    assert done[-1] == FILES + 1


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"folder": "none"}, 400, "bad_request", "there is no folder 'none' under the roots"),
        ({"folder": ".."}, 400, "bad_request", "under the roots"),
        ({"folder": "/etc"}, 400, "bad_request", "under the roots"),
        ({"folder": "pictures/out"}, 400, "bad_request", "under the roots"),
        ({"folder": "a\0b"}, 400, "bad_request", "under the roots"),
        ({"manifest": "pictures/notes.txt"}, 400, "bad_request", "ending in .csv or .jsonl"),
        ({}, 400, "bad_request", "give a folder or a manifest; received neither"),
        ({"folder": "pictures", "manifest": "a.csv"}, 400, "bad_request", "folder and manifest"),
        ({"foldr": "pictures"}, 400, "bad_request", "did you mean 'folder'?"),
        ({"folder": ["pictures"]}, 400, "bad_request", "folder must be a text"),
        ({"folder": "pictures", "priority": 10}, 400, "bad_request", "priority must be from 0 to 9"),
        ({"folder": "pictures", "webhook": "http://10.0.0.1/"}, 400, "bad_request", "TINTYPE_WEBHOOK_HOSTS is not set"),
        ({"folder": "pictures", "version": "x"}, 400, "bad_request", "version must be a whole number"),
        ({"folder": "pictures", "version": 1, "alias": "a"}, 400, "bad_request", "not both"),
        ({"folder": "pictures", "version": 9}, 404, "unknown_model", "has no version 9"),
        ({"folder": "pictures", "model": "none"}, 404, "unknown_model", "there is no model 'none'"),
        (["pictures"], 400, "bad_request", "must be an object"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_a_sentence(place, body, status, code, says):
    got, _, problem = place.order(body)
    assert (got, problem["code"]) == (status, code)
    assert says in problem["detail"]
    assert str(place.home.path) not in problem["detail"]


def test_what_is_not_there_is_404(place):
    for path in ("", "/results", "/contact-sheet", "/events"):
        status, problem = place.client.get(f"/jobs/20261121T213000123-5f0c9a21{path}")
        assert (status, problem["code"]) == (404, "unknown_job")


def test_a_deploy_in_the_middle_changes_nothing_in_a_job(place, publish_again, expected, eventually):
    store = Store(place.home.path / "models")
    name = place.job({"folder": "pictures"})
    publish_again(store)
    store.deploy(Reference("digits", 2))
    try:
        told = place.over(name)
        assert told["model"]["version"] == 1
        assert place.results(name) == expected
        # A web process looks at the aliases now and then.
        eventually(lambda: place.over(place.job({"folder": "pictures/1"}))["model"]["version"] == 2, 60)
    finally:
        store.deploy(Reference("digits", 1))


def test_the_command_orders_watches_lists_and_fetches(place, expected, tmp_path):
    url = f"http://127.0.0.1:{place.client.port}"
    done = place.home.run("classify", "pictures", "--url", url, "--out", tmp_path / "out", "--model", "digits@1")
    assert done.returncode == 0, done.stderr
    name = done.stdout.splitlines()[-1]
    assert (tmp_path / "out" / "results.csv").read_bytes() == expected["results.csv"]
    assert (tmp_path / "out" / "contact_sheet.html").read_bytes() == expected["contact_sheet.html"]
    for more in ((), ("--url", url)):
        assert place.home.json("jobs", *more)[0]["id"] == name
        assert place.home.json("job", name, "--watch", *more)["status"] == "succeeded"
        assert place.home.json("job", name, "--cancel", *more)["status"] == "succeeded"
    refused = place.home.run("classify", "none", "--url", url)
    assert (refused.returncode, "there is no folder" in refused.stderr) == (2, True)
    assert place.home.run("job", "x", "--url", url).returncode == 2


class Small:
    """A job of many small chunks, so that there is something to disturb."""

    def __init__(self, home, folder):
        self.jobs = Jobs(home.path / "jobs")
        version = Store(home.path / "models").catalogue("digits")[0]
        model = {key: version[key] for key in ("name", "version", "sha256")}
        self.job = self.jobs.create(Order(folder, model, 40_000_000))
        (variant, entry), *_ = version["variants"].items()
        self.job.agree(Plan(variant, entry["best_batch"], 32, 10**9))

    def wait(self, condition, seconds=FAR):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.job.status(), self.job.reason())
            time.sleep(0.01)

    def parts(self):
        return len(list(self.job.parts.glob("*/[0-9]*.parquet")))

    def succeeded(self):
        return self.job.status() == "succeeded"


@pytest.fixture
def lonely(home, tmp_path):
    return copied(home, tmp_path / "home")


def test_a_worker_that_is_killed_and_a_redis_that_forgets_lose_nothing(lonely, folder, expected, redis_server):
    """At random moments, and again and again: tests/acceptance/test_job_faults.py."""
    small = Small(lonely, folder)
    with working(lonely, redis_server) as first:
        small.wait(lambda: small.parts() >= 2)
        first.kill()
        redis_server.flush()
    with working(lonely, redis_server):
        small.wait(small.succeeded)
    assert read(small.job.path) == expected


def test_all_rows_of_a_job_are_of_one_version_though_another_is_deployed_between_its_chunks(
    lonely, folder, expected, redis_server, publish_again
):
    small, store = Small(lonely, folder), Store(lonely.path / "models")
    with working(lonely, redis_server) as worker:
        small.wait(lambda: small.parts() >= 2)
        worker.send_signal(signal.SIGSTOP)
        try:
            assert not small.succeeded()
            publish_again(store)
            store.deploy(Reference("digits", 2))
        finally:
            worker.send_signal(signal.SIGCONT)
        small.wait(small.succeeded)
    results = read(small.job.path)
    assert results == expected
    assert {row["version"] for row in rows(results)} == {"1"}
    named = json.loads(results["summary.json"])["model"]
    assert (named["version"], named["sha256"]) == (1, store.catalogue("digits")[0]["sha256"])


def test_a_worker_that_is_told_to_stop_finishes_its_chunk_and_another_does_the_rest(
    lonely, folder, expected, redis_server
):
    small = Small(lonely, folder)
    with working(lonely, redis_server) as first:
        small.wait(lambda: small.parts() >= 2)
        first.terminate()
        assert first.wait(60) == 0
        assert [path.name for path in (small.job.path / "leases").iterdir()] == [".clock"]
    with working(lonely, redis_server):
        small.wait(small.succeeded)
    assert read(small.job.path) == expected


def test_decoders_that_are_killed_cost_no_picture_and_no_worker(lonely, folder, expected, redis_server):
    small = Small(lonely, folder)
    with working(lonely, redis_server) as worker:
        small.wait(lambda: small.parts() >= 1)
        kill_decoders(worker.pid)
        small.wait(small.succeeded)
        assert worker.poll() is None
    assert read(small.job.path) == expected


def test_a_server_alone_that_is_killed_goes_on_when_it_is_started_again(lonely, folder, expected):
    small = Small(lonely, folder)
    with serving(lonely) as (process, _):
        small.wait(lambda: small.parts() >= 2)
        process.kill()
    with serving(lonely):
        small.wait(small.succeeded)
    assert read(small.job.path) == expected
    assert not [each for each in psutil.process_iter(["cmdline", "environ"])
                if "serving.jobs.background" in (each.info["cmdline"] or [])
                and (each.info["environ"] or {}).get("TINTYPE_HOME") == str(lonely.path)]  # fmt: skip
