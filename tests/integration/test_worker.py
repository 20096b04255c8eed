"""A server and its workers, as real processes that meet at a Redis."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from artifacts import files, settings
from artifacts.bundle import digest
from artifacts.store import Store, parse
from serving.queue import BATCH, celery_app
from tests.deployment import Deployment, undelayed_redis, until
from tests.real import Home, form

NOWHERE = "redis://127.0.0.1:1/0"  # nobody listens on port 1


@pytest.fixture(scope="module")
def meeting(tmp_path_factory):
    """A Redis of this module's own."""
    server = undelayed_redis(tmp_path_factory.mktemp("meeting") / "redis").start()
    yield server
    server.stop()


@pytest.fixture
def deploy(home, meeting, tmp_path):
    """`deploy(home)`: nothing runs yet; all that is started in it is ended after the test."""
    made = []
    meeting.flush()

    def deployment(of=home, **more):
        folder = tmp_path / f"logs-{len(made)}"
        folder.mkdir()
        made.append(Deployment(of, meeting, folder, **more))
        return made[-1]

    yield deployment
    for each in made:
        each.end()
        assert each.redis.refusals() == []  # to a role of docker-compose.yml; a flush forgets them


@pytest.fixture(scope="module")
def running(home, tmp_path_factory):
    """(deployment, server, worker) that are ready; tests leave them so."""
    redis = undelayed_redis(tmp_path_factory.mktemp("running") / "redis").start()
    deployment = Deployment(home, redis, tmp_path_factory.mktemp("logs"))
    worker, server = deployment.worker(name="first"), deployment.server()
    deployment.until_ready(server)
    yield deployment, server, worker
    deployment.end()
    assert redis.refusals() == []  # as above
    redis.stop()


@pytest.fixture
def other(home, tmp_path):
    """Another home, with a store of its own: digits@1 as it is in `home`."""
    shutil.copytree(home.path / "models", tmp_path / "other" / "models")
    return Home(tmp_path / "other")


def test_answers_are_those_of_one_process(running, server, pictures):
    _, remote, _ = running
    many = form([(name, data) for name, data in zip(pictures.names, pictures.encoded, strict=True)])
    for body, content_type in [*((data, "image/png") for data in pictures.encoded[:20]), many]:
        status, answer = remote.client.predict(body, "?top_k=10", content_type)
        assert (status, answer.keys()) == (200, {"model", "predictions", "timings"})
        _, wanted = server.predict(body, "?top_k=10", content_type)
        assert answer["model"] == wanted["model"]
        assert answer["predictions"] == wanted["predictions"]
        assert answer["timings"].keys() == wanted["timings"].keys()
        assert min(answer["timings"].values()) >= 0


def test_refusals_are_those_of_one_process(running, server, pictures):
    _, remote, _ = running
    for body, query in [(b"no picture", ""), (b"", ""), (pictures.encoded[0], "?version=9"), (b"x", "?top_k=0")]:
        assert remote.client.predict(body, query) == server.predict(body, query)


def test_the_id_of_a_request_reaches_the_log_of_the_worker(running, pictures):
    _, remote, worker = running
    remote.client.request("POST", "/predict", pictures.encoded[0], Content_Type="image/png", X_Request_Id="from-afar")
    until(lambda: "from-afar" in worker.answered(), 10, "the id is not in the log")
    (line,) = [each for each in worker.lines() if "from-afar" in each["request_ids"]]
    assert (line["model"], line["variant"], line["pictures"]) == ("digits@1", "fp32", 1)
    assert line["infer_ms"] > 0
    assert line["time"].endswith("Z")


def test_no_process_has_a_library_that_it_does_not_need(running):
    _, remote, worker = running
    web, hosting = ({file.path for each in program.family() for file in each.memory_maps()}
                    for program in (remote, worker))  # fmt: skip
    assert any("onnxruntime" in path for path in hosting)
    assert not [path for path in web if "onnxruntime" in path]
    assert not [path for path in web | hosting if "tensorflow" in path or "h5py" in path or "keras" in path]


def test_the_metrics_of_a_server_tell_of_the_worker(running, pictures):
    _, remote, worker = running
    for data in pictures.encoded[:7]:
        assert remote.client.predict(data)[0] == 200

    def counted():
        return told(remote)["tintype_batch_size_sum", worker.name] == sum(line["pictures"] for line in worker.lines())

    until(lambda: len(worker.answered()) >= 7 and counted(), 10, "the batches are not counted")
    found = told(remote)
    assert found["tintype_batch_size_count", worker.name] == len(worker.lines())
    assert found["tintype_engine_busy_seconds_total", worker.name] > 0
    assert found["tintype_workers", worker.name] == 1
    assert found["tintype_engines", worker.name] >= 1
    assert found["tintype_model_live", worker.name] == 1
    until(lambda: told(remote)["tintype_queue_depth", ""] == 0, 10, "something waits")


def told(server):
    """{(name, worker): value} of the metrics, those with further labels summed up."""
    status, _, body = server.client.request("GET", "/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for each in family.samples:
            key = each.name, each.labels.get("worker", "")
            found[key] = found.get(key, 0) + each.value
    return found


def test_a_worker_is_one_of_celerys(running):
    deployment, _, _ = running
    app = celery_app(settings.read({"TINTYPE_REDIS_URL": deployment.redis.url}))
    app.send_task("nobody.knows", queue=BATCH)
    app.pool.force_close_all()
    with deployment.redis.client() as client:
        until(lambda: not client.exists(f"tintype:celery:{BATCH}"), 10, "nobody takes tasks")
        until(lambda: not client.hlen("tintype:celery:unacked"), 10, "it is not acknowledged")


def test_a_worker_can_be_for_online_requests_alone(deploy, pictures):
    deployment = deploy()
    deployment.worker("--queues", "online")
    server = deployment.server()
    deployment.until_ready(server)
    app = celery_app(settings.read({"TINTYPE_REDIS_URL": deployment.redis.url}))
    app.send_task("nobody.knows", queue=BATCH)
    app.pool.force_close_all()
    assert server.client.predict(pictures.encoded[0])[0] == 200
    with deployment.redis.client() as client:
        assert client.llen(f"tintype:celery:{BATCH}") == 1


def test_a_server_is_ready_while_a_worker_is_alive(deploy, pictures):
    deployment = deploy()
    server = deployment.server()
    for status, problem in (server.client.get("/health/ready"), server.client.predict(pictures.encoded[0])):
        assert (status, problem["code"]) == (503, "no_model")
        assert problem["detail"] == "no worker is alive; start one: tintype worker"
    worker = deployment.worker()
    deployment.until_ready(server)
    assert server.client.predict(pictures.encoded[0])[0] == 200
    assert worker.stop() == 0
    until(lambda: server.client.get("/health/ready")[0] == 503, 10, "it is still ready")
    assert deployment.names() == []


def test_without_a_redis_a_server_says_so_and_a_worker_waits_for_it(home, deploy, tmp_path, pictures):
    late = undelayed_redis(tmp_path / "late")
    deployment = deploy(TINTYPE_REDIS_URL=late.url)
    deployment.redis = late
    worker, server = deployment.worker(), deployment.server()
    status, problem = server.client.predict(pictures.encoded[0])
    assert (status, problem["code"]) == (503, "no_model")
    assert problem["detail"] == "Redis does not answer; try again soon"
    until(lambda: "Redis gives no work" in worker.log(), 30, "the worker does not say it")
    late.start()
    try:
        deployment.until_ready(server)
        assert server.client.predict(pictures.encoded[0])[0] == 200
        assert worker.log().count("Redis gives no work") < 5
        assert worker.stop() == 0
    finally:
        late.stop()


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ((), {}, "TINTYPE_REDIS_URL is not set"),
        ((), {"REDIS_URL": "localhost:6379"}, "TINTYPE_REDIS_URL must be an address like redis://"),
        ((), {"REDIS_URL": "redis://localhost:six/0"}, "TINTYPE_REDIS_URL must be an address like redis://"),
        ((), {"REDIS_URL": "redis://localhost:6379/one"}, "TINTYPE_REDIS_URL must be an address like redis://"),
        (("--queues", "online,bacht"), {"REDIS_URL": NOWHERE}, "must be some of online, batch, train"),
        (("--name", "a/b"), {"REDIS_URL": NOWHERE}, "--name must be"),
        ((), {"REDIS_URL": NOWHERE, "DEVICE": "cuda"}, "TINTYPE_DEVICE is cuda"),
    ],
)
def test_a_worker_that_cannot_be_is_told_why(home, arguments, environment, sentence):
    settings_of = {f"TINTYPE_{name}": value for name, value in environment.items()}
    process = home.start("worker", *arguments, **settings_of)
    _, told_why = process.communicate(timeout=60)
    *_, last = told_why.decode().splitlines()
    assert process.returncode == 2
    assert last.startswith("tintype")
    assert sentence in last
    assert "Traceback" not in told_why.decode()


def test_a_version_that_is_deployed_while_it_serves_is_taken_up(deploy, other, publish_again, pictures):
    deployment = deploy(other)
    worker, server = deployment.worker(), deployment.server()
    deployment.until_ready(server)
    assert server.client.predict(pictures.encoded[0])[1]["model"]["version"] == 1
    store = Store(other.path / "models")
    publish_again(store)
    store.deploy(parse("digits@2"))
    until(lambda: server.client.predict(pictures.encoded[0])[1]["model"]["version"] == 2, 60, "it is not taken up")
    until(lambda: {line["model"] for line in worker.lines()} == {"digits@1", "digits@2"}, 10, "it is not in the log")
    assert server.client.predict(pictures.encoded[0], "?version=1")[1]["model"]["version"] == 1


def test_a_worker_loads_what_is_deployed_before_it_is_asked(deploy, other, publish_again):
    deployment = deploy(other)
    worker = deployment.worker()
    deployment.until_alive(1)
    store = Store(other.path / "models")
    publish_again(store)
    store.deploy(parse("digits@2"))
    until(lambda: "digits@2 in fp32 loaded" in worker.log(), 10, "it is not loaded")


def test_a_worker_with_another_version_under_the_number_is_not_believed(deploy, home, other, pictures):
    seal_anew(other.path / "models" / "digits" / "1" / "manifest.json", created="2001-01-01T00:00:00+00:00")
    deployment = deploy(other)
    deployment.worker()
    server = deploy(home).server()
    deployment.until_ready(server)
    status, problem = server.client.predict(pictures.encoded[0])
    assert (status, problem["code"]) == (503, "no_model")
    assert problem["detail"].startswith("the worker's digits@1 is another one than the web process has")


def seal_anew(manifest, **changes):
    """Another version, as whole as the first, under the same number."""
    body = {**json.loads(manifest.read_bytes()), **changes}
    files.write_json(manifest, {**body, "sha256": digest(body)})


def test_a_worker_that_cannot_open_the_version_says_so(deploy, home, other, pictures):
    onnx = other.path / "models" / "digits" / "1" / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
    deployment = deploy(other)
    deployment.worker()
    server = deploy(home, TINTYPE_API_PROCESSES="1").server()
    until(lambda: "altered" in server.client.get("/health/ready")[1].get("detail", ""), 60, "it is not said")
    status, problem = server.client.predict(pictures.encoded[0])
    assert (status, problem["code"]) == (503, "bad_bundle")
    assert "model.onnx was altered" in problem["detail"]


def test_a_delay_gathers_a_batch(deploy, pictures):
    deployment = deploy(TINTYPE_API_PROCESSES="1")
    worker = deployment.worker(TINTYPE_BATCH_DELAY_MS="1500")
    server = deployment.server()
    deployment.until_ready(server)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(server.client.predict, pictures.encoded[:8]))
    assert [status for status, _ in answers] == [200] * 8
    until(lambda: len(worker.answered()) == 8, 10, "it is not in the log")
    assert max(line["pictures"] for line in worker.lines()) >= 4


def test_a_delay_beyond_the_lease_leaves_the_requests_to_their_worker(deploy, pictures):
    deployment = deploy(TINTYPE_API_PROCESSES="1")
    workers = [deployment.worker(TINTYPE_BATCH_DELAY_MS="3100") for _ in range(2)]
    server = deployment.server()
    deployment.until_ready(server, 2)
    assert server.client.predict(pictures.encoded[0])[0] == 200
    until(lambda: sum(len(each.answered()) for each in workers) > 0, 10, "it is not in the log")
    assert sum(len(each.answered()) for each in workers) == 1
    assert not [each for each in workers if "claimed" in each.log()]


def test_workers_have_names_of_their_own_and_a_freed_one_is_given_again(deploy):
    deployment = deploy()
    first = deployment.worker(name="gpu")
    deployment.until_alive(1)
    deployment.worker(name="gpu")
    deployment.until_alive(2)
    assert deployment.names() == ["gpu-0", "gpu-1"]
    assert first.stop() == 0
    assert deployment.names() == ["gpu-1"]
    deployment.worker(name="gpu")
    deployment.until_alive(2)
    assert deployment.names() == ["gpu-0", "gpu-1"]


def test_a_worker_that_is_told_to_stop_while_redis_is_gone_ends(deploy, tmp_path):
    gone = undelayed_redis(tmp_path / "gone").start()
    deployment = deploy(TINTYPE_REDIS_URL=gone.url)
    deployment.redis = gone
    worker = deployment.worker()
    deployment.until_alive(1)
    gone.stop()
    assert worker.stop() == 0


def test_drift_is_told_of_what_workers_answered(running, pictures):
    _, remote, _ = running
    body, content_type = form([("a.png", data) for data in pictures.encoded])
    before = remote.client.get("/models/digits/drift")[1]["window"]["pictures"]
    for _ in range(4):
        assert remote.client.predict(body, content_type=content_type)[0] == 200
        assert remote.client.predict(pictures.encoded[0])[0] == 200
    until(
        lambda: remote.client.get("/models/digits/drift")[1]["window"]["pictures"] >= before + len(pictures.encoded),
        30,
        "the pictures are not counted",
    )
    told = remote.client.get("/models/digits/drift")[1]
    assert told["features"]["size"]["psi"] == 0
    assert told["features"]["brightness"]["level"] != "drifted"


def test_a_trainer_needs_no_more_rights_in_redis_than_it_has(deploy):
    deployment = deploy()
    trainer = deployment.worker("--queues", "train")
    until(lambda: "ready." in trainer.log(), 120, "the trainer does not start")
    assert trainer.stop() == 0
