import http.server
import os
import socket
import subprocess
import sys
import threading

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from artifacts.errors import WrongUse
from serving.records import Record
from serving.telemetry.routes import OTHER
from serving.telemetry.traces import open_traces, wanted
from tests.real import ROOT

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECOND = 1_000_000_000  # nanoseconds
SERVER, INTERNAL, ERROR = 2, 1, 2  # of the protocol
ANSWERED = {
    "method": "POST", "path": "/predict", "route": "/predict", "status": 200, "model": "digits", "version": 3,
    "variant": "int8", "pictures": 2, "decode": 0.001, "wait": 0.002, "infer": 0.004, "batch": 16, "total": 0.01,
}  # fmt: skip


@pytest.fixture
def collector():
    """A collector of OTLP over HTTP: its address, and the requests that came in."""

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.came.append((self.path, self.headers, request))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as running:
        running.came = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def send(collector, monkeypatch):
    """Send the spans of records; what the collector received, {name: span}."""

    def sent(*records, **environ):
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}", **environ}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        spans = open_traces(os.environ)
        spans.add(records)
        spans.close(10)
        return {
            span.name: span
            for _, _, request in collector.came
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    return sent


def record(**filled):
    return Record("req-1", 1763757420.5, 0.0, **ANSWERED | filled)


def closing():
    return "traces-close" in {thread.name for thread in threading.enumerate()}


def attributes(span):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_a_request_is_a_span_with_a_child_for_each_stage(send):
    spans = send(record())
    assert spans.keys() == {"POST /predict", "decode", "wait", "infer"}
    root = spans.pop("POST /predict")
    assert (root.kind, root.parent_span_id) == (SERVER, b"")
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    assert {span.kind for span in spans.values()} == {INTERNAL}


def test_the_times_are_those_of_the_record(send):
    spans = send(record())
    root = spans["POST /predict"]
    assert root.start_time_unix_nano == 1763757420.5 * SECOND
    assert root.end_time_unix_nano - root.start_time_unix_nano == 0.01 * SECOND
    took = {name: (span.end_time_unix_nano - span.start_time_unix_nano) / SECOND for name, span in spans.items()}
    assert took == {"POST /predict": 0.01, "decode": 0.001, "wait": 0.002, "infer": 0.004}
    assert spans["decode"].end_time_unix_nano == spans["wait"].start_time_unix_nano
    assert spans["wait"].end_time_unix_nano == spans["infer"].start_time_unix_nano
    assert spans["infer"].end_time_unix_nano == root.end_time_unix_nano


def test_stages_that_overlapped_stay_within_their_request(send):
    spans = send(record(infer=0.05))  # of pieces that ran on several threads
    root = spans["POST /predict"]
    for span in spans.values():
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano


def test_the_attributes_are_the_conventions_of_http_and_what_answered(send, collector):
    spans = send(record())
    assert attributes(spans["POST /predict"]) == {
        "http.request.method": "POST", "http.response.status_code": 200, "http.route": "/predict",
        "url.path": "/predict", "url.scheme": "http", "tintype.request_id": "req-1", "tintype.outcome": "ok",
        "tintype.model": "digits", "tintype.version": 3, "tintype.variant": "int8", "tintype.pictures": 2,
        "tintype.batch": 16,
    }  # fmt: skip
    path, headers, request = collector.came[0]
    assert (path, headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
    resource = {each.key: each.value.string_value for each in request.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "tintype"


def test_the_service_may_have_another_name(send, collector):
    send(record(), OTEL_SERVICE_NAME="cats", OTEL_RESOURCE_ATTRIBUTES="deployment.environment=test")
    found = collector.came[0][2].resource_spans[0].resource.attributes
    resource = {each.key: each.value.string_value for each in found}
    assert (resource["service.name"], resource["deployment.environment"]) == ("cats", "test")


def test_the_parent_is_the_one_that_the_client_names(send):
    spans = send(record(traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01"))
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
    assert spans["POST /predict"].parent_span_id.hex() == PARENT_ID


def test_a_client_that_does_not_sample_is_not_sampled(send):
    assert send(record(traceparent=f"00-{TRACE_ID}-{PARENT_ID}-00")) == {}


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT_ID}-01", "x" * 10_000])
def test_a_parent_that_is_none_begins_a_trace(send, traceparent):
    root = send(record(traceparent=traceparent))["POST /predict"]
    assert root.parent_span_id == b""
    assert any(root.trace_id)


def test_the_sampler_is_that_of_the_environment(send):
    assert send(record(), OTEL_TRACES_SAMPLER="always_off") == {}


def test_a_request_that_failed_says_why_and_has_the_stages_that_it_reached(send):
    spans = send(record(status=504, outcome="deadline_exceeded", wait=0.0, infer=0.0, variant="", batch=0))
    assert spans.keys() == {"POST /predict", "decode"}
    root = spans["POST /predict"]
    assert root.status.code == ERROR
    assert attributes(root)["error.type"] == "deadline_exceeded"


def test_a_client_that_did_wrong_is_no_error_of_the_server(send):
    root = send(record(status=415, outcome="not_an_image"))["POST /predict"]
    assert root.status.code == 0
    assert "error.type" not in attributes(root)


def test_names_are_bounded_whatever_a_client_sends(send):
    spans = send(record(method="BREW", path="/coffee", route=OTHER, status=404, model="", decode=0, wait=0, infer=0))
    assert spans.keys() == {"HTTP"}
    found = attributes(spans["HTTP"])
    assert (found["http.request.method"], found["url.path"]) == ("_OTHER", "/coffee")
    assert "http.route" not in found


def test_without_an_endpoint_there_are_no_traces():
    assert open_traces({}) is None
    assert not wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": ""})


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "http://localhost:4318; received 'localhost:4318'"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf.*'grpc'"),
    ],
)
def test_an_endpoint_that_cannot_be_spoken_to_is_said_before_anything_starts(environ, says):
    with pytest.raises(WrongUse, match=says):
        wanted(environ)


def test_an_endpoint_without_the_packages_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # as an import finds it where it is not installed
    with pytest.raises(WrongUse, match=r"tintype\[telemetry\]"):
        wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"})


def test_without_an_endpoint_opentelemetry_is_not_imported():
    code = "import sys, serving.telemetry.sink as s; s.traces.open_traces({}); sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_collector_that_does_not_answer_holds_up_neither_requests_nor_the_end(monkeypatch, eventually):
    """The exporter waits for ten seconds, and its own shutdown for thirty."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        spans = open_traces(os.environ)
        spans.add([record()])
        spans.close(0.0)
        assert closing()
        connection, _ = silent.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            eventually(lambda: not closing(), 30)
