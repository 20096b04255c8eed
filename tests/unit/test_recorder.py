import pytest
from flask import Flask
from werkzeug.routing import Map, Rule
from werkzeug.test import Client

from serving.records import RECORD
from serving.telemetry.recorder import Recorded, Recorder
from serving.telemetry.routes import OTHER, Routes

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Kept(list):
    """Records, kept."""

    add = list.append


@pytest.fixture
def records():
    return Kept()


@pytest.fixture
def client(records):
    app = Flask(__name__)

    @app.post("/predict")
    def predict():
        return "an answer", 201

    return Client(Recorded(app.wsgi_app, Recorder(), records))


def test_a_record_is_left_of_each_request(client, records):
    client.post("/predict", headers={"traceparent": TRACEPARENT})
    client.get("/none?secret=1")
    first, second = records
    assert (first.method, first.path, first.status, first.outcome) == ("POST", "/predict", 201, "ok")
    assert first.traceparent == TRACEPARENT
    assert 0 < first.total < 10
    assert (second.method, second.path, second.status, second.traceparent) == ("GET", "/none", 404, "")


def test_whoever_answers_finds_the_record_in_the_environ(records):
    def application(environ, start_response):
        environ[RECORD].model = "digits"
        start_response("200 OK", [])
        return [b""]

    Client(Recorded(application, Recorder(), records)).get("/")
    assert records[0].model == "digits"


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
def test_a_clients_request_id_is_kept_and_answered(client, records, given):
    answer = client.post("/predict", headers={"X-Request-Id": given})
    assert answer.headers.getlist("X-Request-Id") == [given]
    assert records[0].request_id == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", 'a"b', "é", "a\\b", "a,b", "a\x00"])
def test_another_id_is_made_up_where_the_client_gave_none_that_can_stand_in_a_log(client, records, given):
    answer = client.post("/predict", headers={} if given is None else {"X-Request-Id": given})
    made_up = answer.headers["X-Request-Id"]
    assert made_up == records[0].request_id != given
    assert made_up.replace("-", "").isalnum()


def test_made_up_ids_differ_between_requests_and_between_processes(client, records):
    others = Kept()
    for _ in range(100):
        client.post("/predict")
        Client(Recorded(Flask(__name__).wsgi_app, Recorder(), others)).get("/")
    assert len({record.request_id for record in [*records, *others]}) == 200


def test_an_application_that_raises_leaves_a_record_of_what_the_server_will_answer(records):
    def application(environ, start_response):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Client(Recorded(application, Recorder(), records)).get("/")
    assert (records[0].status, records[0].outcome) == (500, "internal_error")


def test_timings_are_milliseconds_of_each_stage(client, records):
    client.post("/predict")
    record = records[0]
    record.decode, record.wait, record.infer = 0.0012345, 0.5, 0.0
    timings = record.timings()
    assert (timings["decode_ms"], timings["wait_ms"], timings["infer_ms"]) == (pytest.approx(1.234, abs=1e-3), 500, 0)
    assert timings["total_ms"] >= 1000 * record.total - 1e-3


@pytest.fixture
def routes():
    rules = (("/predict", "POST"), ("/models/<name>", "GET"), ("/docs/", "GET"))
    return Routes(Map([Rule(path, methods=[method], endpoint=path) for path, method in rules]))


@pytest.mark.parametrize(
    ("path", "method", "rule"),
    [
        ("/predict", "POST", "/predict"),
        ("/predict", "GET", "/predict"),
        ("/predict", "BREW", "/predict"),
        ("/models/cats", "GET", "/models/<name>"),
        ("/models/cats", "DELETE", "/models/<name>"),
        ("/models/<name>", "GET", "/models/<name>"),
        ("/models/a/b", "GET", OTHER),
        ("/docs", "GET", OTHER),
        ("/docs/", "GET", "/docs/"),
        ("", "GET", OTHER),
        ("//", "GET", OTHER),
        ("/%00\x00é|", "GET", OTHER),
        ("/" + "x" * 10_000, "GET", OTHER),
    ],
)
def test_a_path_is_labelled_by_its_rule(routes, path, method, rule):
    assert routes.of(path, method) == rule
