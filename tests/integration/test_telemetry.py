import csv
import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.real import ROOT, Client, free_port, serving, wait_answering

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def two(home, tmp_path_factory, eventually):
    """A server with two web processes, its client, and its access log."""
    log = tmp_path_factory.mktemp("log") / "access.log"
    with serving(home, TINTYPE_API_PROCESSES="2", TINTYPE_ACCESS_LOG=str(log)) as (process, client):
        eventually(lambda: scrape(client)["tintype_workers"] == 2, 60)
        yield process, client, log


def scrape(client):
    """{name: value} of all series; labels follow the name in their order."""
    status, headers, body = client.request("GET", "/metrics")
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        " ".join([each.name, *(value for _, value in sorted(each.labels.items()))]): each.value
        for family in text_string_to_metric_families(body.decode())
        for each in family.samples
    }


def predicted(found):
    return found.get("tintype_requests_total ok /predict 200", 0)


def logged(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_whichever_process_is_asked_tells_of_both(two, pictures, eventually):
    _, client, _ = two
    before = predicted(scrape(client))
    for number in range(40):
        assert client.predict(pictures.encoded[number % 20])[0] == 200
    assert client.predict(b"no picture")[0] == 415
    eventually(lambda: all(predicted(scrape(client)) == before + 40 for _ in range(5)))
    found = scrape(client)
    assert found["tintype_requests_total not_an_image /predict 415"] == 1
    assert found["tintype_pictures_total answered"] == before + 40
    assert found["tintype_request_seconds_count infer"] == before + 40
    assert found["tintype_batch_size_sum"] == before + 40
    assert found["tintype_workers"] == 2
    assert found["tintype_queue_depth memory"] == 0
    assert found["tintype_engines"] >= 2
    assert found["tintype_engine_busy_seconds_total"] > 0
    assert sum(value for name, value in found.items() if name.startswith("tintype_model_live digits")) == 1


def test_the_dashboard_asks_for_nothing_that_a_server_does_not_tell(two, pictures, eventually):
    _, client, _ = two
    client.predict(pictures.encoded[0])
    eventually(lambda: "tintype_drift_pictures digits 1" in scrape(client))  # the other process tells once a second
    told = {name.partition(" ")[0] for name in scrape(client)}
    dashboard = (ROOT / "deploy" / "grafana" / "tintype.json").read_text()
    assert {name for name in re.findall(r"tintype_\w+", dashboard) if name != "tintype_workers"} <= told


def test_no_count_falls_when_a_process_is_killed(two, pictures, eventually):
    process, client, _ = two
    for _ in range(10):
        client.predict(pictures.encoded[0])
    before = max(predicted(scrape(client)) for _ in range(10))
    victim = psutil.Process(process.pid).children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    eventually(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)
    eventually(lambda: len(psutil.Process(process.pid).children()) == 2, 30)
    seen = []

    def both():
        with suppress(OSError):  # a connection that the dead one had
            seen.append(scrape(client))
        return seen and seen[-1]["tintype_workers"] == 2

    eventually(both, 30)
    counts = [predicted(found) for found in seen]
    assert counts == sorted(counts)
    assert counts[0] >= before


def test_each_answered_request_has_its_line(two, pictures, eventually):
    _, client, log = two
    status, headers, body = client.request(
        "POST", "/predict", pictures.encoded[0], Content_Type="image/png", X_Request_Id="line-of-mine"
    )
    assert (status, headers["x-request-id"]) == (200, "line-of-mine")
    eventually(lambda: "line-of-mine" in log.read_text())
    (line,) = [each for each in logged(log) if each["request_id"] == "line-of-mine"]
    answer = json.loads(body)
    assert (line["method"], line["route"], line["status"], line["outcome"]) == ("POST", "/predict", 200, "ok")
    named = {key: line[key] for key in ("version", "variant")} | {"name": line["model"]}
    assert named == {key: answer["model"][key] for key in named}
    assert (line["pictures"], line["refused"]) == (1, 0)
    assert line["batch"] >= 1
    assert [line[key] for key in ("decode_ms", "wait_ms", "infer_ms")] == [
        pytest.approx(answer["timings"][key], abs=0.001) for key in ("decode_ms", "wait_ms", "infer_ms")
    ]
    assert line["total_ms"] >= answer["timings"]["total_ms"]


def test_a_refused_request_has_its_line_and_what_machines_ask_for_has_none(two, eventually):
    _, client, log = two
    client.request("GET", "/metrics", X_Request_Id="quiet")
    client.request("GET", "/health/live", X_Request_Id="quiet")
    client.request("POST", "/predict", b"no picture", Content_Type="image/png", X_Request_Id="bad-one")
    eventually(lambda: "bad-one" in log.read_text())
    (line,) = [each for each in logged(log) if each["request_id"] == "bad-one"]
    assert (line["status"], line["outcome"], line["pictures"], line["refused"]) == (415, "not_an_image", 1, 1)
    assert "quiet" not in log.read_text()


def test_a_table_may_be_asked_for(two, pictures):
    _, client, _ = two
    status, headers, body = client.request(
        "POST", "/predict", pictures.encoded[0], Content_Type="image/png", Accept="text/csv"
    )
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert (headers["x-model"], headers["x-variant"]) == ("digits@1", "fp32")
    (row,) = csv.DictReader(io.StringIO(body.decode(), newline=""))
    _, answer = client.predict(pictures.encoded[0])
    assert row["label"] == answer["predictions"][0]["label"]
    assert json.loads(row["top"]) == answer["predictions"][0]["top"]


def test_what_is_neither_json_nor_a_table_is_refused(two, pictures):
    _, client, _ = two
    status, headers, body = client.request(
        "POST", "/predict", pictures.encoded[0], Content_Type="image/png", Accept="image/png"
    )
    assert (status, headers["content-type"]) == (406, "application/problem+json")
    assert json.loads(body)["code"] == "not_acceptable"


def test_each_request_that_was_answered_before_the_end_has_its_line(home, pictures, tmp_path):
    log = tmp_path / "access.log"
    answered = []
    over = threading.Event()

    def ask(client, number):
        while not over.is_set():
            try:
                status, headers, _ = client.request("POST", "/predict", pictures.encoded[number])
            except OSError:
                return
            assert status in (200, 503)
            answered.append(headers["x-request-id"])

    with ThreadPoolExecutor(4) as clients:
        with serving(home, TINTYPE_API_PROCESSES="2", TINTYPE_ACCESS_LOG=str(log)) as (process, client):
            asking = [clients.submit(ask, client, number) for number in range(4)]
            while len(answered) < 200:
                assert not any(each.done() for each in asking)
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            over.set()
        for each in asking:
            each.result()
    assert sorted(line["request_id"] for line in logged(log)) == sorted(answered)


def test_the_folder_of_the_metrics_is_gone_with_the_server(home, eventually):
    with serving(home) as (process, _):
        (owner,) = [Path(file.path) for file in psutil.Process(process.pid).open_files() if ".owner" in file.path]
        eventually(lambda: len(list(owner.parent.iterdir())) > 1)
    assert not owner.parent.exists()


def test_an_output_that_nobody_reads_holds_up_neither_requests_nor_the_end(home, pictures):
    port = free_port()
    command = [sys.executable, str(ROOT / "tintype.py"), "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    client = Client(port)
    wait_answering(process, client)
    for number in range(600):  # a line has about 270 bytes, a pipe holds 64 kB
        assert client.request("GET", f"/{'x' * 100}{number}")[0] == 404
    assert client.predict(pictures.encoded[0])[0] == 200
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    with process.stdout, process.stderr:
        lines = process.stdout.read().splitlines()
    assert 100 < len(lines) < 600
    assert all(json.loads(line)["request_id"] for line in lines)


def test_requests_are_traced_where_a_collector_is_named(home, pictures, eventually):
    came = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            came.extend(span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        with serving(home, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, TINTYPE_API_PROCESSES="1") as (_, client):
            parent = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
            client.request("POST", "/predict", pictures.encoded[0], Content_Type="image/png", traceparent=parent)
        collector.shutdown()
    ours = {span.name for span in came if span.trace_id.hex() == TRACE_ID}
    assert ours == {"POST /predict", "decode", "wait", "infer"}


def test_a_collector_without_the_right_address_keeps_the_server_from_starting(home):
    environment = {**home.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317"}
    command = [sys.executable, str(ROOT / "tintype.py"), "serve", "--port", str(free_port())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "must be an address like http://localhost:4318" in done.stderr
