"""API keys, rate limits and origins, over real HTTP to real processes that listen where others could reach them."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifacts import settings
from serving.access.guard import OPEN, scope_of
from serving.access.keys import SCOPES, KeyFile
from serving.api.app import create_app
from tests.real import ROOT, Client, Home, form, free_port, wait_answering

EVERYWHERE = "0.0.0.0"  # noqa: S104 - that is what is tested
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
APP = "https://app.example.org"
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where a server leaves its metrics for its processes


class Asking(Client):
    """HTTP with an API key."""

    def __init__(self, port, key):
        super().__init__(port)
        self.key = key

    def request(self, method, path, body=None, **headers):
        return super().request(method, path, body, **{"Authorization": f"Bearer {self.key}", **headers})


@contextmanager
def guarded(home, folder, *arguments, **more):
    """A server on every address of the machine; its output lies in `folder`."""
    port = free_port()
    environment = {**home.environment, "TINTYPE_KEYS": str(folder / "keys.json"), **more}
    command = [sys.executable, str(ROOT / "tintype.py"), "serve", "--host", EVERYWHERE, "--port", str(port)]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [*command, *arguments], env=environment, stdout=out, stderr=subprocess.PIPE, process_group=0
        )
    try:
        wait_answering(process, Client(port))
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        (folder / "err").write_bytes(process.communicate(timeout=60)[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def keys(folder):
    """A key of each scope, and one of all."""
    file = KeyFile(folder / "keys.json")
    return {
        name: file.add(name, list(scopes))
        for name, scopes in {**{each: [each] for each in SCOPES}, "all": SCOPES}.items()
    }


@pytest.fixture(scope="module")
def own(home, tmp_path_factory):
    """A home of this module's own: keys that open everything change it."""
    path = tmp_path_factory.mktemp("own")
    shutil.copytree(home.path / "models", path / "models")
    return Home(path)


@pytest.fixture(scope="module")
def port(own, folder, keys):
    with guarded(own, folder, TINTYPE_API_PROCESSES="1", TINTYPE_CORS_ORIGINS=APP) as port:
        yield port


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """(method, path) of every route of the application, with its parameters filled in."""
    app = create_app(settings.read({"TINTYPE_HOME": str(tmp_path_factory.mktemp("empty"))}))
    values = {name: "digits" for rule in app.url_map.iter_rules() for name in rule.arguments}
    adapter = app.url_map.bind("localhost")
    return {
        (method, adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments}))
        for rule in app.url_map.iter_rules()
        for method in rule.methods
    }


def problem(answer):
    status, headers, body = answer
    return status, headers.get("www-authenticate", ""), json.loads(body)["code"] if body else None


def test_every_route_asks_for_a_key_but_health(port, routes):
    client = Client(port)
    assert {"/predict", "/jobs", "/models", "/metrics", "/openapi.json", "/"} <= {path for _, path in routes}
    for method, path in sorted({*routes, *((method, path) for method in METHODS for _, path in routes)}):
        status, headers, body = client.request(method, path)
        if path in OPEN:
            assert status in (200, 405), (method, path)
        else:
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="tintype"'), (method, path)
            assert method == "HEAD" or json.loads(body)["code"] == "key_required", (method, path)


def test_what_the_front_answers_by_itself_asks_too(port, pictures):
    client = Client(port)
    body, content_type = form([("a.png", pictures.encoded[0])])
    one = pictures.encoded[0]
    for sent, kind, accept in (
        (one, "image/png", "*/*"),
        (one, "image/png", "text/csv"),
        (one, "application/octet-stream", "*/*"),
        (body, content_type, "*/*"),
        (b"", "image/png", "*/*"),
        (b"x" * 40_000_000, "image/png", "*/*"),
    ):
        answer = client.request("POST", "/predict", sent, Content_Type=kind, Accept=accept)
        assert problem(answer) == (401, 'Bearer realm="tintype"', "key_required")


def test_what_is_not_there_tells_nothing_to_those_without_a_key(port, keys):
    for path in ("/nowhere", "//predict", "/health", "/health/live/", "/jobs/none", "/%2e%2e/", "/?x=%ff"):
        assert problem(Client(port).request("GET", path))[0] == 401
    assert problem(Asking(port, keys["read"]).request("GET", "/nowhere"))[::2] == (404, "not_found")


def test_every_route_asks_for_its_scope(port, routes, keys):
    for method, path in sorted(routes):
        if path in OPEN:
            continue
        wanted = scope_of(method, path)
        for scope in SCOPES:
            status, headers, _ = Asking(port, keys[scope]).request(method, path)
            if wanted in (scope, "read"):
                assert status not in (401, 403), (method, path, scope)
            else:
                insufficient = f'Bearer realm="tintype", error="insufficient_scope", scope="{wanted}"'
                assert (status, headers["www-authenticate"]) == (403, insufficient), (method, path, scope)


def test_a_key_is_let_in_and_the_answers_are_the_same(port, keys, server, pictures):
    client = Asking(port, keys["predict"])
    for data in pictures.encoded[:3]:
        assert client.predict(data)[1]["predictions"] == server.predict(data)[1]["predictions"]
        assert client.predict_form([("a.png", data)])[0] == 200
    assert client.get("/models")[0] == 200


@pytest.mark.parametrize("given", ["Bearer wrong", "Basic dXNlcjpwYXNz", "wrong", "Bearer", "Bearer \xe9"])
def test_a_key_that_is_none_is_refused(port, given):
    answer = Client(port).request("GET", "/models", Authorization=given)
    assert problem(answer) == (401, 'Bearer realm="tintype", error="invalid_token"', "invalid_key")


def test_keys_are_made_and_revoked_while_it_serves(home, port, folder, keys, pictures, eventually):
    environment = {"TINTYPE_KEYS": str(folder / "keys.json")}
    home = type(home)(home.path)
    home.environment |= environment
    done = home.run("keys", "add", "passing", "--scopes", "predict")
    assert done.returncode == 0, done.stderr
    client = Asking(port, done.stdout.strip())
    eventually(lambda: client.predict(pictures.encoded[0])[0] == 200)
    assert "passing" in [each["name"] for each in home.json("keys")]
    assert home.run("keys", "revoke", "passing").returncode == 0
    eventually(lambda: client.predict(pictures.encoded[0])[0] == 401)
    assert Asking(port, keys["predict"]).predict(pictures.encoded[0])[0] == 200


def test_a_browser_is_given_the_page_that_asks_for_a_key(port, keys):
    html = "text/html,application/xhtml+xml,*/*;q=0.8"
    for path in ("/", "/models", "/nowhere"):
        status, headers, body = Client(port).request("GET", path, Accept=html)
        assert (status, headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert headers["www-authenticate"] == 'Bearer realm="tintype"'
        assert b"This server asks for an API key" in body
        assert int(headers["content-length"]) == len(body)
    assert problem(Asking(port, "wrong").request("GET", "/", Accept=html))[::2] == (401, "invalid_key")
    status, _, body = Asking(port, keys["read"]).request("GET", "/", Accept=html)
    assert status == 200
    assert b"Drop pictures here" in body


def test_a_page_of_a_named_origin_may_ask_with_a_key(port, keys, pictures):
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
    status, headers, _ = Client(port).request("OPTIONS", "/predict", Origin=APP, **asked)
    assert (status, headers["access-control-allow-origin"]) == (204, APP)
    client = Asking(port, keys["predict"])
    status, headers, _ = client.request("POST", "/predict", pictures.encoded[0], Origin=APP, Content_Type="image/png")
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, APP, "Origin")
    for method in ("OPTIONS", "GET"):
        status, headers, _ = Client(port).request(method, "/models", Origin="https://evil.example.org", **asked)
        assert status == 401
        assert "access-control-allow-origin" not in headers


def test_without_named_origins_nobody_is_told_that_they_may_read(server):
    for method in ("GET", "OPTIONS"):
        _, headers, _ = server.request(method, "/models", Origin=APP, Access_Control_Request_Method="GET")
        assert not [name for name in headers if name.startswith("access-control")]


def test_the_commands_send_a_key_that_nobody_sees(home, port, folder, keys, tmp_path, pictures):
    (tmp_path / "0.png").write_bytes(pictures.encoded[0])
    (tmp_path / "key").write_text(keys["all"] + "\n")
    url = f"http://127.0.0.1:{port}"
    asking = type(home)(home.path)
    asking.environment["TINTYPE_KEY"] = keys["all"]
    load = (url, tmp_path / "0.png", "--seconds", "0.2", "--connections", "1", "--out", tmp_path / "bench.html")
    for done in (
        home.run("bench", *load, "--key-file", tmp_path / "key"),
        asking.run("bench", *load),
        home.run("jobs", "--url", url, "--key-file", tmp_path / "key"),
        asking.run("jobs", "--url", url),
    ):
        assert done.returncode == 0, done.stderr
        assert keys["all"] not in done.stdout + done.stderr
    assert keys["all"] not in (tmp_path / "bench.html").read_text()
    (tmp_path / "key").write_text("two words")
    for arguments, says in (
        (("jobs", "--url", url), "asks for an API key"),
        (("bench", *load), "asks for an API key"),
        (("jobs", "--url", url, "--key-file", tmp_path / "none"), "cannot be read: No such file"),
        (("jobs", "--url", url, "--key-file", tmp_path / "key"), "must hold one API key"),
    ):
        done = home.run(*arguments)
        assert done.returncode in (1, 2)
        assert says in done.stderr
        assert "two words" not in done.stderr


def test_no_server_starts_for_others_without_a_key(home, tmp_path):
    done = home.run("serve", "--host", EVERYWHERE, "--port", free_port(), timeout=60)
    assert done.returncode == 2
    assert f"{EVERYWHERE} can be reached by others, so API keys are asked for" in done.stderr
    assert "make one: tintype keys add NAME --scopes predict" in done.stderr


def test_on_loopback_keys_are_asked_for_where_it_is_wished(home, folder, keys, pictures):
    with guarded(home, folder, "--host", "127.0.0.1", TINTYPE_API_PROCESSES="1", TINTYPE_ASK_KEYS="always") as port:
        assert Client(port).predict(pictures.encoded[0])[0] == 401
        assert Asking(port, keys["predict"]).predict(pictures.encoded[0])[0] == 200


def test_each_key_has_idempotency_keys_of_its_own(own, folder, keys, pictures):
    body, content_type = form([("a.png", pictures.encoded[0])])
    with guarded(own, folder, TINTYPE_API_PROCESSES="1") as port:

        def order(name):
            headers = {"Content_Type": content_type, "Idempotency_Key": "once"}
            status, _, told = Asking(port, keys[name]).request("POST", "/jobs", body, **headers)
            assert status == 202
            return json.loads(told)["id"]

        first, again, other = order("jobs"), order("jobs"), order("all")
    assert first == again != other


def test_a_limit_holds_over_all_processes_and_says_when_to_come_back(home, folder, keys, pictures):
    limits = {"TINTYPE_RATE_LIMIT": "1", "TINTYPE_RATE_BURST": "20", "TINTYPE_API_PROCESSES": "2"}
    with guarded(home, folder, **limits) as port:
        client = Asking(port, keys["predict"])
        for _ in range(1000):
            status, headers, body = client.request("POST", "/predict", pictures.encoded[0], Content_Type="image/png")
            if status != 200:
                break
        assert (status, json.loads(body)["code"], headers["retry-after"]) == (429, "rate_limited", "1")
        assert Asking(port, keys["all"]).predict(pictures.encoded[0])[0] == 200
        assert client.get("/health/live")[0] == 200


def test_a_key_is_nowhere_but_where_it_was_sent(own, folder, keys, pictures, tmp_path, eventually):
    """Keys that are right, unknown and malformed, in every place that a person might put them."""
    unknown = KeyFile(tmp_path / "other.json").add("other", ["predict"])
    malformed = "n0-key-at-all-c0ffee"
    log = folder / "access.log"
    found = []
    with guarded(own, folder, TINTYPE_API_PROCESSES="2", TINTYPE_ACCESS_LOG=str(log)) as port:
        for client in (Client(port), *(Asking(port, key) for key in (malformed, unknown, keys["all"]))):
            for key in (unknown, keys["all"]):
                found += _misuse(client, key, pictures.encoded[0])
        moved = json.dumps({"version": 1, "why": "a reason"})
        path = "/models/digits/aliases/tried"
        assert Asking(port, keys["all"]).request("PUT", path, moved, Content_Type="application/json")[0] == 200
        status, headers, body = Asking(port, keys["all"]).request("GET", "/metrics")
        assert status == 200
        eventually(lambda: '"caller":"all"' in log.read_text())
        looked = [body, json.dumps(headers).encode(), *_files(own.path), *_files(folder)]
        looked += [content for each in SHARED_MEMORY.glob("tintype-metrics-*") for content in _files(each)]
    assert json.loads((own.path / "models" / "digits" / "audit.jsonl").read_text().splitlines()[-1])["who"] == "all"
    looked += [(folder / name).read_bytes() for name in ("out", "err", "access.log")]
    assert {401, 200} <= {status for status, _ in found}
    assert b"Traceback" not in (folder / "err").read_bytes()
    for secret in (*(key.split("_", 2)[2] for key in (unknown, keys["all"])), malformed):
        assert not [content for content in (*looked, *(answer for _, answer in found)) if secret.encode() in content]


def _misuse(client, key, picture):
    """(status, answer) of requests with a key in all the wrong places."""
    order = {"Content_Type": "application/json"}
    asked = [
        client.request("POST", f"/predict?key={key}", picture, Content_Type="image/png"),
        client.request("POST", f"/predict?{key}", picture, Content_Type="image/png"),
        client.request("POST", f"/predict?model={key}", picture, Content_Type="image/png"),
        client.request("POST", "/predict", picture, Content_Type="image/png", X_Request_Id=key, Traceparent=key),
        client.request("POST", "/predict", picture, Content_Type="image/png", Cookie=f"key={key}", User_Agent=key),
        client.request("POST", "/predict", key.encode(), Content_Type="image/png"),
        client.request("POST", "/predict", picture, Content_Type=key, Accept=key),
        client.request("POST", "/trainings", json.dumps({"name": "a", "data": "digits", "preset": key}), **order),
        client.request("POST", "/trainings", json.dumps({"name": "a", "data": "digits", "set": {key: key}}), **order),
        client.request("GET", f"/{key}?access_token={key}"),
        client.request("GET", f"/models/{key}"),
        client.request("GET", f"/jobs/{key}"),
        client.request("POST", "/jobs", json.dumps({"folder": key, "model": "digits"}), Idempotency_Key=key, **order),
        client.request("POST", "/jobs", json.dumps({key: key}), Idempotency_Key=key, **order),
        client.request("POST", "/jobs", key, Idempotency_Key=key, **order),
        client.request("PUT", "/models/digits/aliases/tried", json.dumps({"version": 1, "why": key}), **order),
        client.request(key.replace("_", "-"), "/"),
    ]
    body, content_type = form([(f"{key}.png", picture)])
    asked.append(client.request("POST", "/jobs", body, Content_Type=content_type, Idempotency_Key=key))
    return [(status, answer) for status, _, answer in asked]


def _files(folder):
    return [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.stat().st_size < 10**7]
