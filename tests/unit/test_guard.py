import logging

import pytest

from artifacts.errors import WrongUse
from artifacts.settings import read
from serving.access import guard as guards
from serving.access.guard import Guard, asks, open_guard, scope_of
from serving.access.keys import SCOPES, KeyFile
from serving.access.limits import Limits
from serving.api.app import create_app
from serving.errors import InsufficientScope, InvalidKey, KeyRequired, RateLimited

ROUTES = {  # a request of each scope
    "predict": ("POST", "/predict"),
    "jobs": ("POST", "/jobs/1/cancel"),
    "deploy": ("PUT", "/models/digits/aliases/production"),
    "train": ("POST", "/trainings"),
    "read": ("GET", "/models"),
}


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def guard(file, monkeypatch):
    monkeypatch.setattr(guards, "LOOK_SECONDS", 0.0)
    return Guard(file, Limits(0, 0))


def ask(guard, scope, authorization):
    return guard.check(*ROUTES[scope], authorization)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_opens_what_it_is_meant_for_and_what_any_may_read(guard, file, scope):
    key = file.add("ci", [scope])
    for asked in SCOPES:
        if asked in (scope, "read"):
            assert ask(guard, asked, f"Bearer {key}") == "ci"
        else:
            with pytest.raises(
                InsufficientScope, match=f"needs a key with the scope {asked}; 'ci' has {scope}"
            ) as told:
                ask(guard, asked, f"Bearer {key}")
            assert told.value.challenge == f'Bearer realm="tintype", error="insufficient_scope", scope="{asked}"'


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/", "read"),
        ("GET", "/metrics", "read"),
        ("GET", "/docs", "read"),
        ("GET", "/models/digits/drift", "read"),
        ("OPTIONS", "/models", "read"),
        ("POST", "/models/digits/rollback", "deploy"),
        ("DELETE", "/anything/else", "deploy"),
        ("GET", "/predict", "predict"),
        ("GET", "/jobs", "jobs"),
        ("GET", "/jobs/1/results", "jobs"),
        ("GET", "/trainings/1", "train"),
        ("POST", "/predictions", "deploy"),
        ("GET", "//jobs", "read"),
    ],
)
def test_every_path_has_a_scope(method, path, scope):
    assert scope_of(method, path) == scope


def test_without_a_key_nothing_but_health_is_open(guard, file):
    file.add("ci", ["predict"])
    for path in ("/health/live", "/health/ready"):
        assert guard.check("GET", path, "") == ""
    for path in ("/health", "/health/", "/health/live/", "/HEALTH/LIVE", "/"):
        with pytest.raises(KeyRequired, match="send it as Authorization: Bearer KEY"):
            guard.check("GET", path, "")


def test_the_scheme_may_be_written_in_any_letters(guard, file):
    key = file.add("ci", ["predict"])
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert ask(guard, "predict", f"{scheme} {key}") == "ci"


def test_what_is_no_known_key_is_refused_and_not_repeated(guard, file):
    key = file.add("ci", ["predict"])
    other = KeyFile(file.path.with_name("other.json")).add("ci", ["predict"])
    forged = key[:-4] + ("AAAA" if not key.endswith("AAAA") else "BBBB")
    for given in (f"Basic {key}", key, "Bearer", f"Bearer{key}", "Bearer x", f"Bearer {other}", f"Bearer {forged}",
                  f"Bearer {key} {key}", f"Bearer {key}\xe9", "Bearer \u0661"):  # fmt: skip
        with pytest.raises(InvalidKey) as raised:
            ask(guard, "predict", given)
        assert key not in str(raised.value)
        assert given.partition(" ")[2] not in str(raised.value) or not given.partition(" ")[2]
        assert raised.value.challenge == 'Bearer realm="tintype", error="invalid_token"'


def test_the_file_is_followed(guard, file):
    first = file.add("first", ["predict"])
    assert ask(guard, "predict", f"Bearer {first}") == "first"
    second = file.add("second", ["jobs"])
    assert ask(guard, "jobs", f"Bearer {second}") == "second"
    file.revoke("first")
    with pytest.raises(InvalidKey):
        ask(guard, "predict", f"Bearer {first}")


def test_a_file_that_cannot_be_read_changes_nothing_and_is_said_once(guard, file, caplog):
    key = file.add("ci", ["predict"])
    assert ask(guard, "predict", f"Bearer {key}") == "ci"
    file.path.write_text("{")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert ask(guard, "predict", f"Bearer {key}") == "ci"
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["the keys stay as they were"]


def test_a_file_that_is_gone_lets_nobody_in(guard, file, caplog):
    key = file.add("ci", ["predict"])
    assert ask(guard, "predict", f"Bearer {key}") == "ci"
    file.path.unlink()
    for _ in range(2):
        with pytest.raises(InvalidKey):
            ask(guard, "predict", f"Bearer {key}")
    assert caplog.text.count("has no key any more") == 1


def test_the_file_is_looked_at_once_a_second_and_not_at_every_request(file):
    guard = Guard(file, Limits(0, 0))
    with pytest.raises(KeyRequired):
        ask(guard, "predict", "")
    key = file.add("ci", ["predict"])
    with pytest.raises(InvalidKey):
        ask(guard, "predict", f"Bearer {key}")


def test_each_key_has_a_limit_of_its_own(file):
    guard = Guard(file, Limits(1, 2))
    first, second = (f"Bearer {file.add(name, ['predict'])}" for name in ("a", "b"))
    for key in (first, first, second, second):
        assert ask(guard, "predict", key)
    with pytest.raises(RateLimited, match="1 requests a second") as raised:
        ask(guard, "predict", first)
    assert raised.value.retry_after == 1
    assert guard.check("GET", "/health/live", first) == ""


@pytest.mark.parametrize(
    ("address", "asked"),
    [("127.0.0.1", False), ("127.0.0.2", False), ("::1", False), ("0.0.0.0", True), ("::", True),  # noqa: S104
     ("192.168.1.7", True), ("fe80::1%eth0", True), ("::ffff:127.0.0.1", True)],
)  # fmt: skip
def test_keys_are_asked_for_wherever_others_can_reach(address, asked):
    assert asks(read({}), address) is asked
    assert asks(read({"TINTYPE_ASK_KEYS": "always"}), address)


def test_another_wsgi_server_asks_for_keys_where_it_is_told_to(tmp_path):
    settings = read({"TINTYPE_HOME": str(tmp_path), "TINTYPE_ASK_KEYS": "always"})
    with pytest.raises(WrongUse, match="TINTYPE_ASK_KEYS is always, so API keys are asked for"):
        create_app(settings)
    key = KeyFile(settings.keys_file).add("ci", ["read"])
    client = create_app(settings).test_client()
    refused = client.get("/models")
    assert (refused.status_code, refused.get_json()["code"]) == (401, "key_required")
    assert client.get("/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/health/live").status_code == 200


def test_a_server_that_asks_for_keys_does_not_start_without_one(tmp_path):
    settings = read({"TINTYPE_HOME": str(tmp_path)})
    assert open_guard(settings, "127.0.0.1") is None
    with pytest.raises(WrongUse, match=r"10\.0\.0\.1 can be reached by others.* has none; make one: tintype keys add"):
        open_guard(settings, "10.0.0.1")
    KeyFile(settings.keys_file).add("ci", ["predict"])
    assert open_guard(settings, "10.0.0.1")
