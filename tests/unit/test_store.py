import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from artifacts import bundle, tf_serving
from artifacts.errors import BadBundle, ModelRequired, UnknownModel, WrongUse
from artifacts.store import Reference, Store, parse

PUBLISH = """
import json, pathlib, sys
from artifacts.store import Store
store, manifest = Store(pathlib.Path(sys.argv[1])), json.loads(sys.argv[2])

def publish():
    with store.staging("digits") as folder:
        (folder / "model.onnx").write_bytes(b"graph" * 1000)
        (folder / "report").mkdir()
        (folder / "report" / "training.html").write_text("report")
        store.publish("digits", folder, manifest, {"config.pbtxt": "text"})
"""
STAGE_AND_WAIT = """
import time
with store.staging("digits") as folder:
    (folder / "model.onnx").write_bytes(b"half")
    print(folder.name, flush=True)
    time.sleep(60)
"""
# Each maker is a process of its own that publishes without end; it is killed at another moment of its work.
KILL_AT_MANY_MOMENTS = """
import os, signal, time
began = time.monotonic()
publish()
took = time.monotonic() - began
for moment in range(20):
    before = store.versions("digits")
    pid = os.fork()
    if pid == 0:
        while True:
            publish()
    time.sleep(took * (0.05 + 0.21 * moment))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    print(json.dumps([before, store.versions("digits")]), flush=True)
"""
PUBLISH_TEN = "for _ in range(10): publish()"


@pytest.fixture
def process(store, manifest):
    """Another process that has the store."""
    started = []

    def start(code):
        arguments = [sys.executable, "-c", PUBLISH + code, store.root, json.dumps(manifest)]
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdout.close()


def hidden(store, name="digits"):
    return [path.name for path in (store.root / name).iterdir() if path.name.startswith(".tmp-")]


def test_an_empty_store_has_nothing(store):
    assert store.names() == []
    assert store.versions("digits") == []
    assert store.aliases("digits") == {}
    assert store.catalogue() == []


def test_versions_are_numbered_from_one_and_only_grow(store, publish):
    assert [publish().version for _ in range(3)] == [1, 2, 3]
    assert store.versions("digits") == [1, 2, 3]
    assert store.names() == ["digits"]
    assert bundle.verify(store.path("digits", 2)).version == 2
    assert (store.root / "digits" / "config.pbtxt").read_text() == "text"
    assert hidden(store) == []


def test_versions_sort_as_numbers(store, publish):
    for _ in range(11):
        publish()
    assert store.versions("digits") == list(range(1, 12))


def test_a_number_is_not_given_again_after_the_newest_was_deleted(store, publish):
    publish()
    shutil.rmtree(publish().path)
    assert publish().version == 3
    for version in store.versions("digits"):
        shutil.rmtree(store.path("digits", version))
    assert publish().version == 4


def test_a_store_copied_without_its_counter_goes_on_after_its_newest(store, publish):
    publish()
    publish()
    (store.root / "digits" / ".versions").unlink()
    assert publish().version == 3


def test_what_is_being_made_is_invisible(store):
    with store.staging("digits") as folder:
        (folder / "model.onnx").write_bytes(b"half")
        assert folder.parent == store.root / "digits"
        assert store.versions("digits") == []
        assert store.names() == []
        with pytest.raises(UnknownModel, match="there is no model 'digits'"):
            store.resolve(Reference("digits"))


def test_what_was_not_published_is_gone_afterwards(store):
    made = []

    def fail():
        with store.staging("digits") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            made.append(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not made[0].exists()
    assert hidden(store) == []


def test_a_maker_at_work_is_left_alone_by_another(store, publish):
    with store.staging("digits") as folder:
        (folder / "model.onnx").write_bytes(b"half")
        publish()
        assert (folder / "model.onnx").read_bytes() == b"half"
        assert hidden(store) == [folder.name]


def test_strange_folders_are_no_versions(store, publish):
    publish()
    for name in ("1²", "02", "3.bak", "0", "1٣", "9" * 200):
        (store.root / "digits" / name).mkdir()
    (store.root / "digits" / "7").write_text("a file")
    (store.root / "Other").mkdir()
    (store.root / "empty").mkdir()
    assert store.versions("digits") == [1]
    assert store.names() == ["digits"]


def test_a_killed_maker_leaves_nothing_to_see_and_the_next_one_clears_it(store, publish, process):
    maker = process(STAGE_AND_WAIT)
    left = maker.stdout.readline().strip()
    os.kill(maker.pid, signal.SIGKILL)
    maker.wait()
    assert hidden(store) == [left]
    assert (store.versions("digits"), store.names(), store.catalogue()) == ([], [], [])
    assert publish().version == 1
    assert hidden(store) == []


def test_a_kill_at_any_moment_leaves_no_version_or_a_whole_one(store, publish, process):
    makers = process(KILL_AT_MANY_MOMENTS)
    seen = [json.loads(line) for line in makers.stdout]
    assert makers.wait() == 0
    assert len(seen) == 20
    for (_, after), (before, _) in itertools.pairwise(seen):
        assert before == after
    for before, after in seen:
        assert after[: len(before)] == before
    for version in store.versions("digits"):
        assert bundle.verify(store.path("digits", version)).version == version
    last = store.versions("digits")[-1]
    assert last >= 5, "the makers were killed before they made anything"
    assert publish().version > last
    assert [path.name for path in (store.root / "digits").glob(".*") if path.name not in (".lock", ".versions")] == []


def test_two_processes_publish_at_once(store, process):
    makers = [process(PUBLISH_TEN), process(PUBLISH_TEN)]
    assert [maker.wait(60) for maker in makers] == [0, 0]
    assert store.versions("digits") == list(range(1, 21))
    assert {bundle.verify(store.path("digits", version)).version for version in range(1, 21)} == set(range(1, 21))
    assert hidden(store) == []


def test_deploy_takes_the_newest_and_remembers_the_previous(store, publish):
    publish()
    assert store.deploy(parse("digits")) == 1
    assert store.aliases("digits") == {"production": 1}
    publish()
    assert store.resolve(parse("digits")) == 1
    assert store.deploy(parse("digits")) == 2
    assert store.aliases("digits") == {"production": 2, "previous": 1}


def test_deploying_what_is_deployed_keeps_the_previous(store, publish):
    publish()
    publish()
    store.deploy(parse("digits@1"))
    store.deploy(parse("digits@2"))
    store.deploy(parse("digits@2"))
    assert store.aliases("digits") == {"production": 2, "previous": 1}


def test_another_alias_leaves_production_alone(store, publish):
    publish()
    publish()
    store.deploy(parse("digits@1"))
    assert store.deploy(parse("digits@2"), "canary") == 2
    assert store.aliases("digits") == {"production": 1, "canary": 2}
    assert store.resolve(parse("digits@canary")) == 2
    assert store.deploy(parse("digits@canary")) == 2


def test_rollback_exchanges_production_and_previous(store, publish):
    publish()
    publish()
    store.deploy(parse("digits@1"))
    store.deploy(parse("digits@2"))
    assert store.rollback("digits") == 1
    assert store.aliases("digits") == {"production": 1, "previous": 2}
    assert store.rollback("digits") == 2


def test_without_a_previous_version_there_is_no_rollback(store, publish):
    publish()
    with pytest.raises(UnknownModel, match="no version of digits is in production; run: tintype deploy digits"):
        store.rollback("digits")
    store.deploy(parse("digits"))
    with pytest.raises(UnknownModel, match="digits has no previous version to go back to"):
        store.rollback("digits")
    assert store.aliases("digits") == {"production": 1}


def test_rollback_goes_back_even_when_the_version_in_production_was_deleted(store, publish):
    publish()
    publish()
    store.deploy(parse("digits@1"))
    store.deploy(parse("digits@2"))
    shutil.rmtree(store.path("digits", 2))
    assert store.rollback("digits") == 1


def damage(version):
    (version.path / "model.onnx").write_bytes(b"other")


def test_a_damaged_version_is_not_deployed_and_the_alias_does_not_move(store, publish):
    publish()
    store.deploy(parse("digits"))
    damage(publish())
    with pytest.raises(BadBundle, match="altered"):
        store.deploy(parse("digits"))
    assert store.aliases("digits") == {"production": 1}


def test_a_damaged_version_is_not_rolled_back_to(store, publish):
    first = publish()
    store.deploy(parse("digits"))
    publish()
    store.deploy(parse("digits"))
    damage(first)
    with pytest.raises(BadBundle, match="altered"):
        store.rollback("digits")
    assert store.aliases("digits") == {"production": 2, "previous": 1}


def test_what_is_not_there_is_refused_and_what_exists_is_named(store, publish):
    with pytest.raises(UnknownModel, match="there is no model 'digits'; there is none yet"):
        store.resolve(parse("digits"))
    publish()
    publish("letters")
    with pytest.raises(UnknownModel, match="there is no model 'faces'; the models are: digits, letters"):
        store.resolve(parse("faces"))
    with pytest.raises(UnknownModel, match="no version of digits is in production; run: tintype deploy digits"):
        store.resolve(parse("digits"))
    with pytest.raises(UnknownModel, match="digits has no version 9; its versions are: 1"):
        store.resolve(parse("digits@9"))
    with pytest.raises(UnknownModel, match="digits has no alias 'canary'; its aliases are: none"):
        store.resolve(parse("digits@canary"))
    store.deploy(parse("digits"))
    with pytest.raises(UnknownModel, match="digits has no alias 'canary'; its aliases are: production"):
        store.deploy(parse("digits@canary"))
    for act in (store.deploy, lambda reference: store.catalogue(reference.name)):
        with pytest.raises(UnknownModel, match="there is no model 'faces'"):
            act(parse("faces"))


def test_the_only_model_in_production_needs_no_name(store, publish):
    publish()
    with pytest.raises(UnknownModel, match="no model is in production"):
        store.only()
    store.deploy(parse("digits"))
    publish("letters")
    assert store.only() == "digits"
    store.deploy(parse("letters"))
    with pytest.raises(ModelRequired, match="2 models are in production, so name one of: digits, letters"):
        store.only()


def test_a_reference_is_a_name_a_version_or_an_alias():
    assert parse("digits") == parse("digits@") == Reference("digits")
    assert parse("digits@3") == Reference("digits", version=3)
    assert parse("a-b_c.d9@canary") == Reference("a-b_c.d9", alias="canary")
    assert parse("digits@²") == Reference("digits", alias="²")
    assert parse("digits@" + "9" * 5000).version is None


BAD_NAMES = [
    "", ".", "..", "../digits", "a/b", "/etc", "a\0", "\0", "Digits", "é", "-a", ".a", "a b", "a\n", "a" * 64, "@1",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_no_model_can_have_is_refused_everywhere(store, publish, name):
    publish()
    shutil.copytree(store.root / "digits", store.root.parent / "digits")
    acts = [
        lambda: parse(name),
        lambda: store.staging(name).__enter__(),
        lambda: store.resolve(Reference(name)),
        lambda: store.deploy(Reference(name)),
        lambda: store.rollback(name),
        lambda: store.catalogue(name),
        lambda: store.deploy(parse("digits@1"), name),
    ]
    for act in acts:
        with pytest.raises(WrongUse, match="a name has 1 to 63 of a-z 0-9"):
            act()
    assert store.aliases("digits") == {}


def test_an_alias_that_reads_as_a_version_is_refused(store, publish):
    publish()
    with pytest.raises(WrongUse, match="alias"):
        store.deploy(parse("digits"), "2")


def test_the_catalogue_tells_of_every_version(store, publish, manifest):
    publish()
    publish()
    publish("letters")
    store.deploy(parse("digits@1"))
    damaged = store.path("digits", 2) / "manifest.json"
    damaged.write_text("{}")
    first, second, third = store.catalogue()
    assert (first["name"], first["version"], first["aliases"]) == ("digits", 1, ["production"])
    assert first["labels"] == manifest["labels"]
    assert second == {"name": "digits", "version": 2, "aliases": [], "error": second["error"]}
    assert "cannot be read" in second["error"]
    assert (third["name"], third["version"], third["aliases"]) == ("letters", 1, [])
    assert store.catalogue("letters") == [third]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"production": "x"}', '{"production": true}', "null", "[" * 100_000])
def test_a_damaged_aliases_file_is_refused_with_a_sentence(store, publish, text):
    publish()
    (store.root / "digits" / "aliases.json").write_text(text)
    with pytest.raises(BadBundle, match=r"aliases\.json"):
        store.resolve(parse("digits"))


def test_aliases_moved_at_once_by_many_are_always_whole(store, publish):
    for _ in range(3):
        publish()
    store.deploy(parse("digits@1"))
    seen, done = [], threading.Event()

    def watch():
        while not done.is_set():
            seen.append(Store(store.root).aliases("digits")["production"])

    def deploy(version):
        for _ in range(5):
            store.deploy(Reference("digits", version=version))

    watcher = threading.Thread(target=watch)
    movers = [threading.Thread(target=deploy, args=(version,)) for version in (1, 2, 3)]
    for thread in (watcher, *movers):
        thread.start()
    for thread in movers:
        thread.join()
    done.set()
    watcher.join()
    assert set(seen) <= {1, 2, 3}
    aliases = store.aliases("digits")
    assert aliases["production"] != aliases["previous"]


def test_no_model_takes_the_name_of_the_file_for_tensorflow_serving(store, publish):
    for act in (publish, parse, store.rollback, store.catalogue):
        with pytest.raises(WrongUse, match=r"the name 'tf_serving\.config' is that of the store's file for TensorFlow"):
            act(tf_serving.FILE)
    assert not store.root.exists()


def test_what_could_not_be_opened_is_not_published(store, publish, manifest):
    manifest["variants"]["fp32"]["file"] = "model.int8.onnx"
    with pytest.raises(BadBundle, match=r"must have as file one that files lists; received 'model\.int8\.onnx'"):
        publish()
    assert (store.versions("digits"), hidden(store)) == ([], [])
