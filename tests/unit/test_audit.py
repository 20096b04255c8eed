import json
import re
import threading

import pytest

from artifacts import audit
from artifacts.audit import Change, Note
from artifacts.errors import BadBundle, WrongUse
from artifacts.store import Store, parse


@pytest.fixture
def two(store, publish):
    """A store with digits@1 in production, and digits@2."""
    publish()
    publish()
    store.deploy(parse("digits@1"), note=Note("anna", "the first"))
    return store


def lines(store):
    return audit.lines(store.root / "digits", 100)


def moves(store):
    return [(line["action"], line["alias"], line["from"], line["to"]) for line in lines(store)]


def test_each_change_has_a_line_that_says_who_when_from_where_to_where_and_why(two):
    two.deploy(parse("digits@2"), note=Note("ben@box", "more night pictures"))
    two.rollback("digits", Note("anna", "it mistakes cats"))
    two.deploy(parse("digits@2"), "canary", note=Note("anna"))
    assert moves(two) == [
        ("deploy", "production", None, 1),
        ("deploy", "production", 1, 2),
        ("rollback", "production", 2, 1),
        ("alias", "canary", None, 2),
    ]
    assert [(line["who"], line["why"]) for line in lines(two)] == [
        ("anna", "the first"), ("ben@box", "more night pictures"), ("anna", "it mistakes cats"), ("anna", ""),
    ]  # fmt: skip
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines(two))


def test_without_a_name_it_is_the_person_who_runs_the_process(two):
    two.deploy(parse("digits@2"))
    assert lines(two)[-1]["who"] == audit.here().who
    assert re.fullmatch(r"[^@]+@[^@]+", audit.here().who)


def test_what_is_refused_leaves_no_line(two):
    (two.path("digits", 2) / "model.onnx").write_bytes(b"other")
    with pytest.raises(BadBundle):
        two.deploy(parse("digits@2"))
    assert len(lines(two)) == 1


def test_a_reason_of_any_letters_is_one_line(two):
    why = 'two\nlines, "quotes", ü, 🙂, \ud800, \0'
    two.deploy(parse("digits@2"), note=Note("anna", why))
    assert lines(two)[-1]["why"].encode("utf-8", "surrogatepass") == why.encode("utf-8", "surrogatepass")
    assert len((two.root / "digits" / audit.FILE).read_text().splitlines()) == 2


def test_a_reason_without_end_is_refused():
    assert audit.here("x" * audit.LONGEST).why == "x" * audit.LONGEST
    with pytest.raises(WrongUse, match="at most 1000 characters; received 1001"):
        audit.here("x" * (audit.LONGEST + 1))


def test_a_line_that_a_kill_tore_is_left_out_and_spoils_no_other(two):
    path = two.root / "digits" / audit.FILE
    path.write_bytes(path.read_bytes() + path.read_bytes()[:40])
    two.deploy(parse("digits@2"))
    assert moves(two) == [("deploy", "production", None, 1), ("deploy", "production", 1, 2)]


def test_the_last_lines_of_a_long_audit(tmp_path):
    audit.append(tmp_path, Change("deploy", "production", Note("anna", "x" * 100)), 1, 2)
    (line,) = audit.lines(tmp_path, 100)
    with (tmp_path / audit.FILE).open("a") as file:
        file.writelines(json.dumps({**line, "to": number}) + "\n" for number in range(3000))
    audit.append(tmp_path, Change("deploy", "production", Note("anna")), 2999, 3000)
    assert [line["to"] for line in audit.lines(tmp_path, 3)] == [2998, 2999, 3000]
    assert len(audit.lines(tmp_path, 10**6)) > 500


def test_many_at_once_lose_no_line_and_each_goes_on_from_the_one_before(two):
    def deploy(version):
        for _ in range(5):
            Store(two.root).deploy(parse(f"digits@{version}"))

    threads = [threading.Thread(target=deploy, args=(version,)) for version in (1, 2, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = moves(two)
    assert len(found) == 16
    assert all(found[number][3] == found[number + 1][2] for number in range(15))
