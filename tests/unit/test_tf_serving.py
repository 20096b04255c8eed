import itertools
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from artifacts import files, tf_serving
from artifacts.errors import BadBundle
from artifacts.store import Store, parse
from artifacts.tf_serving import Model, config

# A process that puts its models to either version, by turns.
DEPLOY_BY_TURNS = """
import pathlib, sys
from artifacts.store import Reference, Store
store = Store(pathlib.Path(sys.argv[1]))
for turn in range(10):
    for name in sys.argv[2:]:
        store.deploy(Reference(name, version=1 + turn % 2))
"""
DIGITS = Model("digits", Path("/srv/models/digits"), {"production": 3, "previous": 2})
LETTERS = Model("letters", Path("/srv/models/letters"), {"canary": 12, "production": 9, "shadow": 12})


def parsed(text):
    """The models as TensorFlow Serving reads them: its own message, its own text format."""
    return text_format.Parse(text, ModelServerConfig()).model_config_list.config


def test_the_server_is_told_name_folder_platform_versions_and_labels():
    (model,) = parsed(config([DIGITS]))
    assert (model.name, model.base_path, model.model_platform) == ("digits", "/srv/models/digits", "tensorflow")
    assert list(model.model_version_policy.specific.versions) == [2, 3]
    assert dict(model.version_labels) == {"production": 3, "previous": 2}


def test_every_label_names_a_version_that_is_loaded_and_each_is_listed_once():
    _, model = parsed(config([LETTERS, DIGITS]))
    assert list(model.model_version_policy.specific.versions) == [9, 12]
    assert dict(model.version_labels) == {"canary": 12, "production": 9, "shadow": 12}


def test_the_text_depends_on_no_order():
    expected = config([DIGITS, LETTERS])
    for models in itertools.permutations([DIGITS, LETTERS]):
        turned = [model._replace(labels=dict(reversed(model.labels.items()))) for model in models]
        assert config(iter(turned)) == expected
    assert [model.name for model in parsed(expected)] == ["digits", "letters"]


def test_without_a_model_the_list_is_there_and_empty():
    empty = text_format.Parse(config([]), ModelServerConfig())
    assert empty.WhichOneof("config") == "model_config_list", "the server ignores a file that sets nothing"
    assert len(empty.model_config_list.config) == 0


@pytest.mark.parametrize(
    "folder",
    ['/a "b"', "/a\\b", "/a'b", "/a\nb\r\t", "/ü/模型/🙂", "/a#b", "/{x}", "/\\101", "/a\x007", "/\x7f", '/"\n}\n'],
)
def test_a_path_of_any_letters_is_read_back_as_it_was(folder):
    text = config([DIGITS._replace(folder=Path(folder))])
    (model,) = parsed(text)
    assert model.base_path == folder
    assert text.isascii()


def test_a_path_that_is_not_utf8_keeps_its_bytes():
    text = config([DIGITS._replace(folder=Path("/caf\udce9"))])
    assert r'base_path: "/caf\351"' in text


def test_the_largest_version_that_a_store_gives_out_fits():
    largest = 10**18 - 1
    (model,) = parsed(config([DIGITS._replace(labels={"production": largest})]))
    assert dict(model.version_labels) == {"production": largest}


def test_writers_at_once_lose_nothing(tmp_path):
    served = []

    def add(number):
        served.append(DIGITS._replace(name=f"digits{number}"))
        tf_serving.write(tmp_path, lambda: list(served))

    writers = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = parsed((tmp_path / tf_serving.FILE).read_text())
    assert {model.name for model in found} == {f"digits{number}" for number in range(20)}


def test_a_writer_asks_what_is_served_only_when_it_has_the_lock(tmp_path):
    served, asked = [DIGITS], threading.Event()

    def ask():
        asked.set()
        return list(served)

    writer = threading.Thread(target=tf_serving.write, args=(tmp_path, ask))
    with files.locked(tmp_path):
        writer.start()
        assert not asked.wait(0.2)
        served.append(LETTERS)
    writer.join()
    assert len(parsed((tmp_path / tf_serving.FILE).read_text())) == 2


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    (tmp_path / f".{tf_serving.FILE}.0123abcd.part").write_text("half")
    (tmp_path / ".other.part").write_text("of somebody else")
    tf_serving.write(tmp_path, lambda: [DIGITS])
    assert {path.name for path in tmp_path.iterdir()} == {tf_serving.FILE, ".other.part"}


@pytest.fixture
def for_tensorflow(store, manifest):
    """Publish a version with a SavedModel."""

    def published(name="digits"):
        with store.staging(name) as folder:
            (folder / "model.onnx").write_bytes(b"graph")
            (folder / tf_serving.GRAPH).write_bytes(b"graph")
            return store.publish(name, folder, manifest, {})

    return published


def served(store):
    """{model: (base_path, versions, labels)} as TensorFlow Serving reads it."""
    text = (store.root / tf_serving.FILE).read_text()
    return {
        model.name: (
            model.base_path,
            list(model.model_version_policy.specific.versions),
            dict(model.version_labels),
        )
        for model in text_format.Parse(text, ModelServerConfig()).model_config_list.config
    }


def test_what_tensorflow_serving_serves_follows_the_aliases(store, for_tensorflow):
    for _ in range(3):
        for_tensorflow()
    assert served(store) == {}
    folder = str(store.root / "digits")
    store.deploy(parse("digits@1"))
    assert served(store) == {"digits": (folder, [1], {"production": 1})}
    store.deploy(parse("digits@3"))
    store.deploy(parse("digits@2"), "canary")
    assert served(store) == {"digits": (folder, [1, 2, 3], {"production": 3, "previous": 1, "canary": 2})}
    store.rollback("digits")
    assert served(store) == {"digits": (folder, [1, 2, 3], {"production": 1, "previous": 3, "canary": 2})}


def test_the_folder_is_absolute_however_the_store_was_named(store, for_tensorflow, monkeypatch):
    for_tensorflow()
    monkeypatch.chdir(store.root.parent)
    Store(store.root.relative_to(store.root.parent)).deploy(parse("digits"))
    assert served(store)["digits"][0] == str(store.root / "digits")


def test_tensorflow_serving_is_told_of_no_version_that_it_cannot_load(store, publish, for_tensorflow):
    for_tensorflow()
    publish()
    publish("letters")
    store.deploy(parse("digits@1"))
    store.deploy(parse("digits@2"))
    store.deploy(parse("letters"))
    assert served(store) == {"digits": (str(store.root / "digits"), [1], {"previous": 1})}
    shutil.rmtree(store.path("digits", 1))
    store.deploy(parse("letters"))
    assert served(store) == {}


@pytest.mark.parametrize("text", ["{", "null", '{"production": true}', "[" * 100_000, None])
def test_a_model_with_damaged_aliases_is_not_served_by_tensorflow_and_the_others_are(store, for_tensorflow, text):
    for name in ("digits", "letters"):
        for_tensorflow(name)
        store.deploy(parse(name))
    damaged = store.root / "digits" / "aliases.json"
    damaged.unlink()
    damaged.mkdir() if text is None else damaged.write_text(text)
    with pytest.raises(BadBundle, match=r"aliases\.json (is damaged|cannot be read)"):
        store.deploy(parse("digits"))
    store.deploy(parse("letters"))
    assert list(served(store)) == ["letters"]


def test_an_alias_that_no_deploy_could_make_is_no_label(store, for_tensorflow):
    for_tensorflow()
    for_tensorflow("letters")
    aliases = {"production": 1, "\ud800": 1, "A": 1, "gone": 7, "minus": -1, "far": 10**500}
    (store.root / "digits" / "aliases.json").write_text(json.dumps(aliases))
    store.deploy(parse("letters"))
    assert served(store)["digits"][1:] == ([1], {"production": 1})


def test_the_file_for_tensorflow_serving_is_there_again_after_the_next_publish(store, for_tensorflow):
    for_tensorflow()
    store.deploy(parse("digits"))
    whole = (store.root / tf_serving.FILE).read_bytes()
    (store.root / tf_serving.FILE).unlink()
    for_tensorflow("letters")
    assert (store.root / tf_serving.FILE).read_bytes() == whole


def test_deploys_of_many_models_by_many_processes_at_once_are_all_served(store, for_tensorflow):
    names = [f"model{number}" for number in range(8)]
    for name in names:
        for_tensorflow(name)
        for_tensorflow(name)
    script = [sys.executable, "-c", DEPLOY_BY_TURNS, store.root]
    deployers = [subprocess.Popen([*script, *names[first::4]]) for first in range(4)]
    while any(deployer.poll() is None for deployer in deployers):
        served(store)  # whole at any moment, or it could not be parsed
    assert [deployer.returncode for deployer in deployers] == [0] * 4
    labels = {"production": 2, "previous": 1}
    assert served(store) == {name: (str(store.root / name), [1, 2], labels) for name in names}
    assert sorted(path.name for path in store.root.iterdir()) == [*names, tf_serving.FILE]
