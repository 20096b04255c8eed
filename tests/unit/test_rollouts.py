import json
import subprocess
import sys
import threading

import pytest

from artifacts import audit, rollouts
from artifacts.audit import Note
from artifacts.errors import BadBundle, Busy, UnknownModel, WrongUse
from artifacts.rollouts import Gates, Order, Outcome, Status
from artifacts.store import Store, parse
from serving.rollouts.tally import Counted, Tally, summed

ANNA = Note("anna", "more night pictures")
CANARY = Order("canary", 0.1, 600.0)
DECIDE_AND_DIE = """
import os, pathlib, sys
from artifacts import audit, files, rollouts
from artifacts.audit import Note
from artifacts.rollouts import Outcome, Status
from artifacts.store import Store
store, step, write = Store(pathlib.Path(sys.argv[1])), sys.argv[2], files.write_json
if step == "audit":
    audit.append = lambda *_: os._exit(9)
files.write_json = lambda path, value: os._exit(9) if path.name == "aliases.json" else write(path, value)
(rollout,) = rollouts.history(store.root / "digits", 1)
rollouts.end(store, rollout, Outcome(Status.PROMOTED, "because", {"requests": 7}), Note("gate"))
"""


@pytest.fixture
def three(store, publish):
    """A store with digits@1 in production, digits@2 and digits@3."""
    for _ in range(3):
        publish()
    store.deploy(parse("digits@1"))
    return store


def start(store, reference="digits@2", order=CANARY, check=None):
    return rollouts.start(store, parse(reference), order, ANNA, check)


def newest(store):
    return rollouts.history(store.root / "digits", 1)[0]


def ended(store, status, rollout=None, reason="because"):
    return rollouts.end(store, rollout or newest(store), Outcome(status, reason, {"requests": 7}), Note("gate"))


def test_a_rollout_sets_its_alias_and_is_written_down(three):
    begun = start(three)
    assert three.aliases("digits") == {"production": 1, "canary": 2}
    assert rollouts.running(three.root / "digits") == begun == newest(three)
    assert (begun.against, begun.who, begun.why, begun.order) == (1, "anna", "more night pictures", CANARY)
    assert audit.lines(three.root / "digits", 9)[-1] | {"time": ""} == {
        "time": "", "who": "anna", "action": "canary", "alias": "canary", "from": None, "to": 2,
        "why": "more night pictures",
    }  # fmt: skip
    assert json.dumps(begun.told())
    assert begun.age() < 60


def test_one_that_is_promoted_goes_into_production(three):
    start(three)
    assert ended(three, Status.PROMOTED)
    assert three.aliases("digits") == {"production": 2, "previous": 1}
    found = newest(three)
    assert (found.status, found.reason, found.measured) == (Status.PROMOTED, "because", {"requests": 7})
    assert found.ended > found.began
    assert rollouts.running(three.root / "digits") is None
    line = audit.lines(three.root / "digits", 1)[0]
    assert (line["who"], line["action"], line["alias"], line["from"], line["to"]) == (
        "gate", "promote", "production", 1, 2,
    )  # fmt: skip


@pytest.mark.parametrize("status", [Status.TAKEN_BACK, Status.STOPPED])
def test_one_that_is_taken_back_leaves_production_as_it_was(three, status):
    start(three)
    assert ended(three, status)
    assert three.aliases("digits") == {"production": 1}
    assert newest(three).status == status


def test_of_many_who_decide_at_once_one_does(three):
    begun = start(three)
    done = []

    def decide(status):
        done.append(ended(Store(three.root), status, begun))

    threads = [threading.Thread(target=decide, args=(s,)) for s in [Status.PROMOTED, Status.TAKEN_BACK] * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False] * 9 + [True]
    promoted = newest(three).status == Status.PROMOTED
    assert three.aliases("digits") == ({"production": 2, "previous": 1} if promoted else {"production": 1})
    assert len(audit.lines(three.root / "digits", 99)) == 3


@pytest.mark.parametrize("step", ["audit", "aliases"])
def test_what_was_decided_before_a_kill_is_finished_by_the_next_one(three, step):
    """The decider dies just before the audit, or the aliases, are written."""
    start(three)
    died = subprocess.run([sys.executable, "-c", DECIDE_AND_DIE, three.root, step], check=False)
    assert died.returncode == 9
    left = newest(three)
    assert (left.status, left.decided, left.reason) == (Status.RUNNING, Status.PROMOTED, "because")
    assert three.aliases("digits") == {"production": 1, "canary": 2}
    assert ended(three, left.decided, left, left.reason)
    assert three.aliases("digits") == {"production": 2, "previous": 1}
    assert newest(three).status == Status.PROMOTED


def test_one_cannot_be_promoted_over_what_a_person_has_deployed_meanwhile(three):
    start(three)
    three.deploy(parse("digits@3"))
    assert not ended(three, Status.PROMOTED)
    assert three.aliases("digits") == {"production": 3, "previous": 1, "canary": 2}
    assert ended(three, Status.STOPPED)
    assert three.aliases("digits") == {"production": 3, "previous": 1}


def test_there_is_one_rollout_of_a_model_at_a_time(three, publish):
    start(three)
    with pytest.raises(Busy, match=r"digits@2 is being rolled out; stop that first: tintype rollout digits --stop"):
        start(three, "digits@3")
    ended(three, Status.STOPPED)
    assert start(three, "digits").version == 3
    assert len(rollouts.history(three.root / "digits", 9)) == 2


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (Order("canary", 0.0, 60), "above 0 % and at most 100 %"),
        (Order("canary", 1.5, 60), "received 150"),
        (Order("holiday", 0.5, 60), "canary or shadow"),
        (Order("canary", 0.5, 0), "received 0 seconds"),
        (Order("canary", 0.5, 60, Gates(latency=0.5)), "1 or more times"),
        (Order("canary", 0.5, 60, Gates(errors=-1)), "errors must be from 0 %"),
        (Order("canary", 0.5, 60, Gates(disagreement=2)), "disagreement must be from 0 %"),
        (Order("canary", 0.5, 60, Gates(requests=-1)), "must not be negative"),
    ],
)
def test_what_makes_no_sense_is_refused(three, order, says):
    with pytest.raises(WrongUse, match=says):
        start(three, order=order)
    assert three.aliases("digits") == {"production": 1}


def test_what_cannot_be_rolled_out_is_refused(three, publish):
    with pytest.raises(WrongUse, match="digits@1 is in production already"):
        start(three, "digits@1")
    with pytest.raises(UnknownModel, match="has no version 9"):
        start(three, "digits@9")
    publish("letters")
    with pytest.raises(UnknownModel, match="no version of letters is in production to go on meanwhile"):
        start(three, "letters")
    (three.path("digits", 3) / "model.onnx").write_bytes(b"other")
    with pytest.raises(BadBundle, match="altered"):
        start(three, "digits@3")

    def refuse(bundle):
        raise BadBundle(f"{bundle.version} answers otherwise")

    with pytest.raises(BadBundle, match="2 answers otherwise"):
        start(three, check=refuse)
    assert rollouts.history(three.root / "digits", 9) == []


def test_a_damaged_record_is_as_none(three):
    begun = start(three)
    (three.root / "digits" / rollouts.FOLDER / f"{begun.id}.json").write_text("{")
    assert rollouts.running(three.root / "digits") is None


def test_what_many_processes_count_is_summed_up(tmp_path):
    for labels in (("cat", "dog"), ("cat", "dog"), ("cat", "cat")):
        counted = Counted(tmp_path)
        counted.tally.requests += 2
        counted.tally.compare(*labels)
        counted.tally.candidate["1"] += 1
        counted.publish()
        counted.tally.failed += 1
        counted.publish()
        counted.publish()
    (tmp_path / "of-another-version.json").write_text('{"requests": 5}')
    (tmp_path / "damaged.json").write_text("{")
    assert len(list(tmp_path.iterdir())) == 5
    total = summed(tmp_path)
    assert (total.requests, total.failed, total.compared, total.disagreed) == (6, 3, 3, 2)
    assert (total.pairs, total.candidate) == ({"cat → dog": 2}, {"1": 3})
    assert total.told()["disagreement"] == 0.6667
    assert Tally().told()["p95_ms"] is None
