import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress

import numpy as np
import psutil
import pytest

from artifacts.bundle import verify
from artifacts.pictures import Pictures
from artifacts.pixels import encode_png
from artifacts.settings import read
from artifacts.store import Reference, Store, parse
from serving.api.predictor import LOOP_PIXELS
from serving.api.state import State
from serving.engine.opened import SPARE
from serving.healthcheck import check
from tests.real import ROOT, Client, form, free_port, serving, wait_answering

PNG = "image/png"


def golden_label(home, row):
    return home.json("models", "digits")[0]["labels"][int(row.argmax())]


def test_answers_a_raw_body_with_the_keras_models_label_and_confidence(home, server, pictures):
    version = home.path / "models" / "digits" / "1"
    golden = Pictures.load(version / "golden.npz")
    for data, row in zip(golden.encoded[:10], golden.probabilities, strict=False):
        status, answer = server.predict(data)
        (prediction,) = answer["predictions"]
        assert status == 200
        assert prediction["label"] == golden_label(home, row)
        assert prediction["confidence"] == pytest.approx(float(row.max()), abs=1e-4)


def test_names_the_model_that_answered(home, server, pictures):
    bundle = verify(home.path / "models" / "digits" / "1")
    _, answer = server.predict(pictures.encoded[0])
    assert answer["model"] == {"name": "digits", "version": 1, "sha256": bundle.sha256, "variant": "fp32"}


def test_int8_answers_when_it_is_set_as_it_did_at_the_export(whole):
    golden = Pictures.load(whole.path / "models" / "digits" / "1" / "golden.npz")
    with serving(whole, TINTYPE_VARIANT="int8") as (_, client):
        _, answer = client.predict_form([(f"{n}.png", data) for n, data in enumerate(golden.encoded)])
    assert answer["model"]["variant"] == "int8"
    expected = golden.answers["int8"]
    assert [each["label"] for each in answer["predictions"]] == [str(row.argmax()) for row in expected]
    confidences = [each["confidence"] for each in answer["predictions"]]
    assert confidences == pytest.approx(expected.max(1).tolist(), abs=1e-5)


def test_a_variant_that_the_version_does_not_have_is_a_problem_that_says_why(home, pictures):
    with serving(home, TINTYPE_VARIANT="int8") as (_, client):
        status, problem = client.predict(pictures.encoded[0])
        assert (status, problem["code"]) == (503, "bad_bundle")
        assert "digits@1 has no int8 (the export was not asked for it)" in problem["detail"]
        assert client.get("/health/ready")[0] == 503


def test_many_pictures_are_answered_in_their_order_as_each_alone(server, pictures):
    alone = [server.predict(data)[1]["predictions"][0] for data in pictures.encoded]
    _, answer = server.predict_form([(f"{n}.png", data) for n, data in enumerate(pictures.encoded)])
    together = answer["predictions"]
    assert [each["file"] for each in together] == [f"{n}.png" for n in range(len(alone))]
    assert [each["label"] for each in together] == [each["label"] for each in alone]
    assert [each["confidence"] for each in together] == pytest.approx([each["confidence"] for each in alone], abs=1e-5)


def test_one_bad_picture_among_many_has_an_error_in_its_place(server, pictures):
    files = [("a.png", pictures.encoded[0]), ("b.png", b"no picture"), ("c.png", pictures.encoded[1][:50])]
    status, answer = server.predict_form(files)
    first, second, third = answer["predictions"]
    assert status == 200
    assert "error" not in first
    assert (second["file"], second["error"]["code"]) == ("b.png", "not_an_image")
    assert (third["file"], third["error"]["code"]) == ("c.png", "unreadable_picture")


def test_top_k_bounds_the_labels_and_best_comes_first(server, pictures):
    _, answer = server.predict(pictures.encoded[0], "?top_k=3")
    top = answer["predictions"][0]["top"]
    assert len(top) == 3
    assert [each["confidence"] for each in top] == sorted((each["confidence"] for each in top), reverse=True)
    _, answer = server.predict(pictures.encoded[0], "?top_k=99")
    assert len(answer["predictions"][0]["top"]) == 10
    assert sum(each["confidence"] for each in answer["predictions"][0]["top"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("query", ["?model=digits", "?alias=production", "?model=digits&version=1"])
def test_a_model_may_be_named_in_every_way(server, pictures, query):
    status, answer = server.predict(pictures.encoded[0], query)
    assert (status, answer["model"]["version"]) == (200, 1)


@pytest.mark.parametrize(
    ("query", "status", "code", "says"),
    [
        ("?model=cats", 404, "unknown_model", "digits"),
        ("?version=99", 404, "unknown_model", "versions are: 1"),
        ("?alias=canary", 404, "unknown_model", "production"),
        ("?version=1&alias=production", 400, "bad_request", "not both"),
        ("?version=0", 400, "bad_request", "at least 1"),
        ("?top_k=many", 400, "bad_request", "'many'"),
        ("?modle=digits", 400, "bad_request", "'model'"),
        ("?model=../../etc", 400, "wrong_use", "../../etc"),
        ("?model=a%00b", 400, "wrong_use", "begins with"),
    ],
)
def test_a_wrong_query_is_a_problem_that_says_what_would_be_right(server, pictures, query, status, code, says):
    answered, body = server.predict(pictures.encoded[0], query)
    assert (answered, body["status"], body["code"]) == (status, status, code)
    assert says in body["detail"]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", PNG, 400, "no_picture"),
        (b"hello", PNG, 415, "not_an_image"),
        (b"hello", "text/plain", 415, "wrong_media_type"),
        (b"{}", "application/json", 415, "wrong_media_type"),
        (b"GIF89a....", "image/gif", 415, "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n broken", PNG, 422, "unreadable_picture"),
        (b"--part--\r\n", "multipart/form-data; boundary=part", 400, "no_picture"),
        (b"garbage", "multipart/form-data", 400, "no_picture"),
    ],
)
def test_what_is_no_picture_is_refused(server, body, content_type, status, code):
    answered, problem = server.predict(body, content_type=content_type)
    assert (answered, problem["code"]) == (status, code)


def test_a_problem_document_has_its_media_type(server):
    status, headers, body = server.request("GET", "/nowhere")
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert json.loads(body)["code"] == "not_found"
    status, headers, _ = server.request("GET", "/predict")
    assert (status, set(headers["allow"].split(", "))) == (405, {"POST", "OPTIONS"})


def test_a_form_with_the_wrong_field_says_which_fields_came(server, pictures):
    body, content_type = form([("a.png", pictures.encoded[0])], field="photo")
    status, problem = server.predict(body, content_type=content_type)
    assert (status, problem["code"]) == (400, "no_picture")
    assert "photo" in problem["detail"]


def test_a_body_without_a_content_type_is_taken_as_a_picture(server, pictures):
    status, _, _ = server.request("POST", "/predict", pictures.encoded[0])
    assert status == 200


def test_limits_of_size_and_number(home, pictures):
    settings = {"TINTYPE_MAX_BODY_MB": "1", "TINTYPE_MAX_PICTURES": "3", "TINTYPE_MAX_PIXELS": "5000"}
    with serving(home, **settings) as (_, client):
        assert client.predict_form([("a.png", pictures.encoded[0])] * 3)[0] == 200
        status, problem = client.predict_form([("a.png", pictures.encoded[0])] * 4)
        assert (status, problem["code"]) == (413, "too_large")
        status, problem = client.predict(encode_png(np.zeros((100, 100, 1), np.uint8)))
        assert (status, problem["code"]) == (413, "picture_too_large")
        assert "5,000" in problem["detail"]
        status, problem = client.predict(b"x" * 1_000_001)
        assert (status, problem["code"]) == (413, "too_large")


def test_a_chunked_body_beyond_the_limit_is_refused(home):
    with (
        serving(home, TINTYPE_MAX_BODY_MB="1") as (_, client),
        socket.create_connection(("127.0.0.1", client.port)) as raw,
    ):
        raw.sendall(
            b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        piece = b"%x\r\n%s\r\n" % (100_000, b"x" * 100_000)
        try:
            for _ in range(30):
                raw.sendall(piece)
            raw.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server need not read on
        assert b" 413 " in raw.recv(1000)
        assert client.get("/health/live")[0] == 200


def test_past_the_deadline_the_answer_is_504(home, pictures):
    with serving(home, TINTYPE_DEADLINE_MS="1", TINTYPE_API_PROCESSES="1") as (_, client):
        status, problem = client.predict_form([("a.png", pictures.encoded[0])] * 200)
        assert (status, problem["code"]) == (504, "deadline_exceeded")


def test_a_full_queue_answers_429_with_retry_after(home, pictures):
    body, content_type = form([("a.png", data) for data in pictures.encoded])
    refused = []
    with serving(home, TINTYPE_QUEUE_DEPTH="64", TINTYPE_API_PROCESSES="1") as (_, client):

        def ask_until_one_is_refused():
            while not refused:
                status, headers, problem = client.request("POST", "/predict", body, Content_Type=content_type)
                if status != 200:
                    refused.append((status, json.loads(problem)["code"], headers["retry-after"]))

        clients = [threading.Thread(target=ask_until_one_is_refused) for _ in range(8)]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
        assert set(refused) == {(429, "queue_full", "1")}
        assert client.predict(pictures.encoded[0])[0] == 200
        status, problem = client.predict_form([("a.png", pictures.encoded[0])] * 65)
        assert (status, problem["code"]) == (413, "too_large")


def test_models_health_interface_and_page(home, server):
    status, models = server.get("/models")
    assert (status, models["models"]) == (200, home.json("models"))
    assert server.get("/models/digits")[1]["versions"][0]["aliases"] == ["production"]
    assert server.get("/models/cats")[0] == 404
    assert server.get("/health/live") == (200, {"status": "live"})
    check("api", {}, server.port)  # as its container does
    status, ready = server.get("/health/ready")
    assert (status, ready["models"][0]["name"]) == (200, "digits")
    assert server.get("/openapi.json")[1]["openapi"].startswith("3.1")
    status, headers, page = server.request("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"Drop pictures here" in page


def test_without_a_model_it_starts_and_says_that_it_is_not_ready(home, pictures, tmp_path):
    with serving(home, TINTYPE_HOME=str(tmp_path)) as (_, client):
        status, problem = client.get("/health/ready")
        assert (status, problem["code"]) == (503, "no_model")
        status, problem = client.predict(pictures.encoded[0])
        assert (status, problem["code"]) == (404, "unknown_model")


def test_what_is_deployed_while_it_serves_makes_it_ready(home, pictures, tmp_path):
    with serving(home, TINTYPE_HOME=str(tmp_path), TINTYPE_API_PROCESSES="2") as (_, client):
        assert client.get("/health/ready")[0] == 503
        shutil.copytree(home.path / "models", tmp_path / "models")
        assert {client.get("/health/ready")[0] for _ in range(8)} == {200}


def test_the_front_and_flask_answer_the_same(server, pictures):
    """`Accept` sends a request one way or the other."""
    for body, query in ((pictures.encoded[0], ""), (pictures.encoded[1], "?top_k=2"), (b"no picture", ""), (b"", "")):
        answers = []
        for accept in ("application/json", "application/json, text/plain;q=0.1"):
            status, _, told = server.request("POST", "/predict" + query, body, Content_Type="image/png", Accept=accept)
            answer = json.loads(told)
            answer.pop("timings", None)
            answers.append((status, answer))
        assert answers[0] == answers[1]


def test_a_large_picture_is_left_to_a_thread(server, encode):
    side = 1500
    assert side * side > LOOP_PIXELS
    large = encode(np.zeros((side, side), np.uint8))
    status, answer = server.predict(large)
    assert (status, len(answer["predictions"])) == (200, 1)


def test_slow_uploads_hold_up_nobody(home, pictures):
    # The uploads break off before the server is told to stop, which would wait for them.
    with serving(home, TINTYPE_API_PROCESSES="1") as (_, client), ExitStack() as slow:
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nx"
        for _ in range(200):
            upload = slow.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            upload.sendall(head)
        assert client.get("/health/live")[0] == 200
        assert client.predict(pictures.encoded[0])[0] == 200


def test_a_head_without_end_is_refused(home, server):
    with socket.create_connection(("127.0.0.1", server.port)) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with suppress(ConnectionError):  # it may hang up while we still send
            for number in range(2000):
                endless.sendall(b"X-%d: %s\r\n" % (number, b"x" * 100))
            assert endless.recv(100).startswith(b"HTTP/1.1 400 ")
            assert not endless.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_query_beyond_ascii_is_refused_with_a_sentence(server):
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall("GET /models?é HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(10_000), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_many_versions_asked_for_are_not_all_kept(pictures, tmp_path, publish_again, eventually):
    store = Store(tmp_path / "models")
    for _ in range(8):
        publish_again(store)
    store.deploy(parse("digits@1"))
    live = State(read({"TINTYPE_HOME": str(tmp_path), "TINTYPE_API_PROCESSES": "1"})).models
    pixels = pictures.decode(28, 28, 1)
    for version in (*range(1, 9), 1, 5):
        model = live.get(Reference("digits", version=version))
        assert model.lane.predict(pixels, time.monotonic() + 30).probabilities.shape == (64, 10)

    def kept():
        live.follow()
        return len(live.opened())

    eventually(lambda: kept() == SPARE + 1)
    assert live.get(Reference("digits")).bundle.version == 1


def test_neither_keras_nor_tensorflow_is_in_any_serving_process(home):
    with serving(home, TINTYPE_API_PROCESSES="2") as (process, _):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        mapped = {file.path for member in family for file in member.memory_maps()}
    assert len(family) >= 3
    assert any("onnxruntime" in path for path in mapped)
    assert not [path for path in mapped if "tensorflow" in path or "h5py" in path or "keras" in path]


def test_the_modules_of_serving_import_neither_keras_nor_tensorflow():
    script = (
        "import sys, serving.server, serving.api.app, serving.jobs.classify, serving.one_off;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('keras', 'tensorflow', 'tf2onnx', 'onnx')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"TINTYPE_DEVICE": "cuda"}, "TINTYPE_DEVICE is cuda"),
        ({"TINTYPE_RUNTIME": "tf_serving"}, "TINTYPE_TF_SERVING is not set"),
        ({"TINTYPE_ACCESS_LOG": "/no/such/folder/log"}, "TINTYPE_ACCESS_LOG must be"),
    ],
)
def test_what_the_settings_ask_for_and_is_not_there_ends_the_server_with_a_sentence(home, settings, sentence):
    process = home.start("serve", "--port", free_port(), **settings)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    last = told.decode().strip().splitlines()[-1]
    assert last.startswith("tintype: ")
    assert sentence in last
    assert "Traceback" not in told.decode()


def terminate_twice(process):
    """As a service manager does: to the parent, and to each of its processes."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    for member in family:
        member.send_signal(signal.SIGTERM)


def ctrl_c(process):
    """As a terminal does: to the whole group."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("stop", [subprocess.Popen.terminate, terminate_twice, ctrl_c])
def test_told_to_stop_it_answers_the_requests_in_flight(home, pictures, stop):
    body, content_type = form([("a.png", data) for data in pictures.encoded * 3])
    with serving(home) as (process, client), ExitStack() as open_ones:
        uploads = [open_ones.enter_context(_begun_upload(client, body, content_type)) for _ in range(4)]
        stop(process)
        for upload in uploads:
            upload.sendall(body)
        answers = [_answer(upload) for upload in uploads]
        assert process.wait(30) == 0
    assert [len(answer["predictions"]) for answer in answers] == [192] * 4


def _begun_upload(client, body, content_type):
    """A request whose handler is at work, for it has asked for the body (RFC 9110, 10.1.1)."""
    upload = socket.create_connection(("127.0.0.1", client.port), timeout=30)
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    upload.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
    assert upload.recv(100).startswith(b"HTTP/1.1 100 ")
    return upload


def _answer(upload):
    response = http.client.HTTPResponse(upload)
    response.begin()
    assert response.status == 200
    return json.loads(response.read())


def test_kill_9_under_load_leaves_nobody_behind_and_the_next_start_serves(home, pictures):
    port = free_port()
    client = Client(port)
    process = home.start("serve", "--port", port)
    wait_answering(process, client)
    children = psutil.Process(process.pid).children(recursive=True)
    load = [threading.Thread(target=_until_it_dies, args=(client, pictures.encoded[0])) for _ in range(4)]
    for each in load:
        each.start()
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    for each in load:
        each.join()
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    again = home.start("serve", "--port", port)
    wait_answering(again, client)
    assert client.predict(pictures.encoded[0])[0] == 200
    again.terminate()
    assert again.wait(30) == 0
    again.stderr.close()


def _until_it_dies(client, data):
    try:
        while client.predict(data)[0] == 200:
            pass
    except (OSError, ValueError, http.client.HTTPException):  # the last: it died in the middle of an answer
        return


def test_a_deploy_takes_effect_and_for_a_damaged_version_the_previous_one_answers(
    home, pictures, tmp_path, publish_again, eventually
):
    other = tmp_path / "home"
    shutil.copytree(home.path / "models", other / "models")
    store = other / "models" / "digits"
    with serving(home, TINTYPE_HOME=str(other)) as (_, client):
        publish_again(Store(other / "models"))
        assert client.predict(pictures.encoded[0])[1]["model"]["version"] == 1
        Store(other / "models").deploy(parse("digits@2"))
        eventually(lambda: client.predict(pictures.encoded[0])[1]["model"]["version"] == 2)
    onnx = store / "2" / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
    with serving(home, TINTYPE_HOME=str(other)) as (_, client):
        status, ready = client.get("/health/ready")
        assert (status, ready["models"][0]["version"]) == (200, 1)
        assert client.predict(pictures.encoded[0])[1]["model"]["version"] == 1
        status, problem = client.predict(pictures.encoded[0], "?version=2")
        assert (status, problem["code"]) == (503, "bad_bundle")
        assert "model.onnx was altered" in problem["detail"]


def test_a_port_in_use_is_said_so(home, server):
    done = home.run("serve", "--port", server.port)
    assert done.returncode == 2
    assert f"127.0.0.1:{server.port}" in done.stderr
    assert "another program listens" in done.stderr
