"""Which version answers is changed over HTTP and by command, and each change is in the audit."""

import json
import shutil

import pytest

from artifacts.store import Store
from tests.real import Home, serving


@pytest.fixture
def two(home, tmp_path, publish_again):
    """A home with digits@1 in production and digits@2."""
    return copied(home, tmp_path / "home", publish_again)


@pytest.fixture(scope="module")
def served(home, tmp_path_factory, publish_again):
    """The same, for the server that the tests of this module share."""
    return copied(home, tmp_path_factory.mktemp("served") / "home", publish_again)


def copied(home, path, publish_again):
    shutil.copytree(home.path / "models", path / "models")
    publish_again(Store(path / "models"))
    return Home(path)


@pytest.fixture(scope="module")
def ask(served):
    """`ask(method, path, body)` of a server of that home: (status, answer)."""
    with serving(served, TINTYPE_API_PROCESSES="1") as (_, client):

        def asked(method, path, body=None, content_type="application/json"):
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            status, _, answer = client.request(method, path, data, Content_Type=content_type)
            return status, json.loads(answer)

        yield asked


def test_an_alias_is_moved_and_rolled_back_over_http(ask, served):
    status, moved = ask("PUT", "/models/digits/aliases/production", {"version": 2, "why": "more night pictures"})
    aliases = {"production": 2, "previous": 1}
    assert (status, moved) == (200, {"name": "digits", "alias": "production", "version": 2, "aliases": aliases})
    status, moved = ask("POST", "/models/digits/rollback", {"why": "it mistakes cats"})
    assert (status, moved["version"], moved["aliases"]) == (200, 1, {"production": 1, "previous": 2})
    assert ask("POST", "/models/digits/rollback")[1]["version"] == 2
    assert ask("PUT", "/models/digits/aliases/holiday", {"version": 1})[1]["aliases"]["holiday"] == 1
    _, shown = ask("GET", "/models/digits")
    assert shown["aliases"] == {"production": 2, "previous": 1, "holiday": 1}
    changes = [(line["action"], line["alias"], line["from"], line["to"], line["why"]) for line in shown["audit"][1:]]
    assert changes == [
        ("deploy", "production", 1, 2, "more night pictures"),
        ("rollback", "production", 2, 1, "it mistakes cats"),
        ("rollback", "production", 1, 2, ""),
        ("alias", "holiday", None, 1, ""),
    ]
    assert {line["who"] for line in shown["audit"][1:]} == {"127.0.0.1"}
    assert served.json("audit", "digits") == shown["audit"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "says"),
    [
        ("digits/aliases/production", {"version": 9}, 404, "unknown_model", "its versions are: 1, 2"),
        ("cats/aliases/production", {"version": 1}, 404, "unknown_model", "the models are: digits"),
        ("digits/aliases/2", {"version": 1}, 400, "wrong_use", "an alias must not read as a version"),
        ("digits/aliases/A", {"version": 1}, 400, "wrong_use", "received 'A'"),
        ("digits/aliases/production", None, 400, "bad_request", '{"version": 3}'),
        ("digits/aliases/production", {"version": 0}, 400, "bad_request", "received 0"),
        ("digits/aliases/production", {"version": True}, 400, "bad_request", "version must be a whole number"),
        ("digits/aliases/production", {"version": "1"}, 400, "bad_request", 'received "1"'),
        ("digits/aliases/production", {"versoin": 1}, 400, "bad_request", "did you mean 'version'?"),
        ("digits/aliases/production", {"version": 1, "why": "x" * 1001}, 400, "wrong_use", "at most 1000 characters"),
        ("digits/aliases/production", [1], 400, "bad_request", "must be an object"),
        ("digits/aliases/production", b"{", 400, "bad_request", "not JSON"),
    ],
)
def test_what_makes_no_sense_is_a_problem_and_changes_nothing(ask, served, path, body, status, code, says):
    before = Store(served.path / "models").aliases("digits")
    answered, problem = ask("PUT", f"/models/{path}", body)
    assert (answered, problem["code"]) == (status, code)
    assert says in problem["detail"]
    assert Store(served.path / "models").aliases("digits") == before


def test_a_damaged_version_a_form_and_a_rollback_to_nowhere_are_refused(ask, served, publish_again):
    store = Store(served.path / "models")
    onnx = publish_again(store, "letters").path / "model.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
    status, problem = ask("PUT", "/models/letters/aliases/production", {"version": 1})
    assert (status, problem["code"]) == (503, "bad_bundle")
    assert "letters/1/model.onnx was altered" in problem["detail"]
    assert str(served.path) not in problem["detail"]
    status, problem = ask("PUT", "/models/letters/aliases/production", b"version=1", "text/plain")
    assert (status, problem["code"]) == (415, "wrong_media_type")
    publish_again(store, "letters")
    assert ask("PUT", "/models/letters/aliases/production", {"version": 2})[0] == 200
    status, problem = ask("POST", "/models/letters/rollback")
    assert (status, problem["code"]) == (404, "unknown_model")
    assert "no previous version" in problem["detail"]
    assert len(ask("GET", "/models/letters")[1]["audit"]) == 1


def test_the_commands_say_who_and_why(two):
    assert two.json("deploy", "digits", "--why", "more night pictures")["aliases"] == {"production": 2, "previous": 1}
    two.json("rollback", "digits", "--why", "it mistakes cats")
    lines = two.json("audit", "digits", "--last", "2")
    assert [line["why"] for line in lines] == ["more night pictures", "it mistakes cats"]
    shown = two.run("audit", "digits").stdout
    assert "more night pictures" in shown
    assert lines[0]["who"] in shown
    assert two.run("audit", "cats").returncode == 1


def test_prune_keeps_what_a_job_works_with(two, publish_again, pictures, tmp_path):
    store = Store(two.path / "models")
    for _ in range(3):
        publish_again(store)
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(pictures.encoded[0])
    with serving(two, TINTYPE_REDIS_URL="redis://127.0.0.1:1/0", TINTYPE_FOLDERS=str(folder)) as (_, client):
        order = json.dumps({"folder": str(folder), "version": 2})
        assert client.request("POST", "/jobs", order, Content_Type="application/json")[0] == 202
    foreseen = two.json("prune", "digits", "--dry-run")
    assert foreseen["removed"] == [3]
    assert store.versions("digits") == [1, 2, 3, 4, 5]
    assert two.json("prune", "digits") == foreseen
    assert foreseen["kept"]["2"] == "a job works with it"
    assert store.versions("digits") == [1, 2, 4, 5]
    assert two.run("prune", "digits", "--keep", "1").returncode == 2
