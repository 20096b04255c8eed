import json
import multiprocessing
import os
import stat

import pytest

from artifacts import files
from artifacts.errors import WrongUse
from serving.access.keys import MOST, KeyFile, hidden, id_of


@pytest.fixture
def keys(tmp_path):
    return KeyFile(tmp_path / "etc" / "keys.json")


def test_a_key_is_told_once_and_kept_as_its_hash(keys):
    key = keys.add("ci", ["jobs", "predict"])
    (entry,) = keys.read()
    assert (entry.name, entry.scopes, entry.sha256) == ("ci", ("predict", "jobs"), files.sha256(key.encode()))
    assert entry.id == id_of(key)
    assert key not in keys.path.read_text()
    assert key.split("_", 2)[2] not in keys.path.read_text()


def test_no_two_keys_are_alike(keys):
    made = {keys.add(f"key-{number}", ["predict"]) for number in range(20)}
    assert len({id_of(key) for key in made}) == 20
    assert len({key.rpartition(id_of(key))[2] for key in made}) == 20


@pytest.mark.parametrize("umask", [0, 0o22, 0o77])
def test_the_file_is_its_owners_alone(keys, umask):
    before = os.umask(umask)
    try:
        keys.add("ci", ["predict"])
        keys.add("web", ["predict"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600


def test_a_key_that_is_revoked_is_gone_and_its_number_is_not_given_again(keys):
    keys.add("a", ["predict"])
    keys.add("b", ["predict"])
    keys.revoke("b")
    keys.add("b", ["train"])
    assert [(key.name, key.number) for key in keys.read()] == [("a", 0), ("b", 2)]
    with pytest.raises(WrongUse, match=r"there is no key 'c' in .*; there are: a, b"):
        keys.revoke("c")


def test_a_name_that_is_taken_is_refused(keys):
    keys.add("ci", ["predict"])
    with pytest.raises(WrongUse, match="there is a key 'ci' already; revoke it first"):
        keys.add("ci", ["jobs"])


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "ä", "x" * 65, "a\n", f"tintype_{'0' * 12}_secret"])
def test_what_is_no_name_is_refused_and_not_repeated(keys, name):
    with pytest.raises(WrongUse, match="the name of a key is 1 to 64") as raised:
        keys.add(name, ["predict"])
    assert not name or name not in str(raised.value)
    assert keys.read() == []


def test_an_unknown_scope_is_refused_and_the_known_ones_are_named(keys):
    with pytest.raises(WrongUse, match="no scope 'all'; give some of predict, jobs, deploy, train, read"):
        keys.add("ci", ["predict", "all"])


def test_no_file_is_no_keys(keys):
    assert keys.read() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "[]",
        lambda _: "[" * 100_000,
        lambda content: json.dumps({**content, "next": "1"}),
        lambda content: json.dumps({**content, "keys": [{**content["keys"][0], "sha256": "no hash"}]}),
        lambda content: json.dumps({**content, "keys": [{**content["keys"][0], "number": MOST}]}),
        lambda content: json.dumps({**content, "keys": [{**content["keys"][0], "scopes": [1]}]}),
        lambda content: json.dumps({**content, "keys": [{"name": "ci"}]}),
    ],
)
def test_what_is_no_file_of_keys_is_refused(keys, damage):
    keys.add("ci", ["predict"])
    keys.path.write_text(damage(json.loads(keys.path.read_text())))
    with pytest.raises(WrongUse, match="is no file that `tintype keys` has written"):
        keys.read()
    with pytest.raises(WrongUse, match="is no file that `tintype keys` has written"):
        keys.add("other", ["predict"])


def test_many_who_add_at_once_lose_nothing(keys):
    fork = multiprocessing.get_context("fork")
    makers = [fork.Process(target=keys.add, args=(f"key-{number}", ["predict"])) for number in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0] * 8
    assert {key.name for key in keys.read()} == {f"key-{number}" for number in range(8)}
    assert {key.number for key in keys.read()} == set(range(8))


def test_what_is_no_key_has_no_id(keys):
    key = keys.add("ci", ["predict"])
    assert id_of(key)
    for other in ("", "tintype", key[:-1], key + "x", key.upper(), f" {key}", "Bearer " + key):
        assert id_of(other) == ""


def test_a_key_is_hidden_wherever_it_stands(keys):
    key = keys.add("ci", ["predict"])
    assert hidden(f"there is no path /{key}/x; or {key[:-3]}") == "there is no path /tintype_…/x; or tintype_…"
    assert hidden("tintype_requests_total of tintype_demo_x") == "tintype_requests_total of tintype_demo_x"
