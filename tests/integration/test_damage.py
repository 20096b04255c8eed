"""Whatever is done to the version in production: after a restart the last good one answers, and the reason shown."""

import json
import shutil

import numpy as np
import pytest

from artifacts import bundle, files, served
from artifacts.pictures import Pictures
from artifacts.store import Reference, Store
from tests.deployment import Deployment, undelayed_redis, until
from tests.integration.test_opening import TAMPERING, _before, altered, sealed
from tests.real import Home

SIZE = (16, 20, 3)  # of the coloured pictures


@altered
def graph_of_transposed_pictures(model):
    _before(model, "Reshape", [np.array([-1, *SIZE])], "in shape")
    _before(model, "Transpose", [], "transposed", perm=[0, 2, 1, 3])


@altered
def graph_of_scaled_pictures(model):
    _before(model, "Cast", [], "bytes", to=2)
    _before(model, "Mul", [np.array(255 / 256, np.float32)], "scaled")
    _before(model, "Cast", [], "floats", to=1)


@altered
def graph_of_centred_pictures(model):
    _before(model, "Cast", [], "bytes", to=2)
    _before(model, "Relu", [], "above")
    _before(model, "Sub", [np.array(127.5, np.float32)], "centred")
    _before(model, "Cast", [], "floats", to=1)


def numbered(folder, name, version):
    """Seal a copy under another name and number."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    kept = {key: value for key, value in manifest.items() if key not in ("files", "sha256")}
    bundle.seal(folder, {**kept, "name": name, "version": version})


def flipped(version):
    graph = version / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")


def cut_off(version):
    graph = version / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])


def of_other_rules(version):
    manifest = json.loads((version / "manifest.json").read_bytes())
    sealed(version, preprocessing={**manifest["preprocessing"], "version": 99})


# In each way that the tests of the export and of the opening know: the graph, its pictures, its files, its manifest.
SEALED = {
    **{name: tamper for name, (tamper, _) in TAMPERING.items()},
    "transposed": graph_of_transposed_pictures,
    "scaled": graph_of_scaled_pictures,
    "centred": graph_of_centred_pictures,
}
UNSEALED = {
    "flipped byte": flipped,
    "cut off": cut_off,
    "file missing": lambda version: (version / "golden.npz").unlink(),
    "file added": lambda version: (version / "strange").write_text("strange"),
    "file linked": lambda version: (version / "strange").symlink_to("/etc/passwd"),
    "manifest missing": lambda version: (version / "manifest.json").unlink(),
    "manifest altered": lambda version: (version / "manifest.json").write_text("{}"),
    "version missing": shutil.rmtree,
    "other rules": of_other_rules,
    "aliases damaged": lambda version: (version.parent / "aliases.json").write_text("{"),
}


@pytest.fixture(scope="module")
def damaged(coloured, tmp_path_factory):
    """A home with a model for each way; its first version is the last good one, its second is in production."""
    store = Store(tmp_path_factory.mktemp("damaged") / "models")
    for number, (way, harm) in enumerate({**SEALED, **UNSEALED}.items()):
        name = way.lower().replace(" ", "-")
        for version in (1, 2):
            shutil.copytree(coloured.path("coloured", 1), store.path(name, version))
            numbered(store.path(name, version), name, version)
        # The last good one is known from what servers have noted, or from the alias.
        known = way == "aliases damaged" or number % 2
        files.write_json(store.root / name / "aliases.json", {"production": 2} | ({} if known else {"previous": 1}))
        if known:
            served.remember(store.root / name, 1)
        harm(store.path(name, 2))
        if way in SEALED:
            sealed(store.path(name, 2))
            assert bundle.verify(store.path(name, 2)).version == 2
    return Home(store.root.parent)


@pytest.mark.parametrize("workers", [0, 1], ids=["embedded", "workers"])
def test_the_last_good_version_answers_after_a_restart_and_the_reason_is_shown(damaged, tmp_path, workers):
    store = Store(damaged.path / "models")
    redis = undelayed_redis(tmp_path / "redis").start() if workers else None
    deployment = Deployment(damaged, redis, tmp_path, TINTYPE_API_PROCESSES="1")
    data = Pictures.load(store.path("bgr", 1) / "golden.npz").encoded[0]
    try:
        for _ in range(workers):
            deployment.worker()
        if workers:
            deployment.until_alive(workers)
        client = deployment.server().client
        names = {way.lower().replace(" ", "-") for way in {**SEALED, **UNSEALED}}
        until(lambda: refused(client).keys() == names, 300, "not all are refused")
        answers = {name: client.predict(data, f"?model={name}") for name in names}
        versions = {name: answer.get("model", {}).get("version") for name, (_, answer) in answers.items()}
        assert versions == dict.fromkeys(names, 1)
        assert {each["serving"] for each in refused(client).values()} == {1}
        assert "altered" in refused(client)["flipped-byte"]["reason"]
        assert "answers its golden pictures otherwise" in refused(client)["bgr"]["reason"]
        assert "aliases.json is damaged" in refused(client)["aliases-damaged"]["reason"]
        shown = {each["name"]: each for each in client.get("/models")[1]["refused"]}
        assert shown == refused(client)
    finally:
        deployment.end()
        if redis:
            redis.stop()


def refused(client):
    status, told = client.get("/health/ready")
    return {each["name"]: each for each in told["refused"]} if status == 200 else {}


def test_a_version_is_remembered_once_it_answers_and_not_before(coloured, tmp_path):
    store = Store(tmp_path / "models")
    shutil.copytree(coloured.root, store.root)
    deployment = Deployment(Home(tmp_path), None, tmp_path, TINTYPE_API_PROCESSES="1")
    try:
        client = deployment.server().client
        until(lambda: served.versions(store.root / "coloured") == [1], 30, "it is not remembered")
        shutil.copytree(store.path("coloured", 1), store.path("coloured", 2))
        numbered(store.path("coloured", 2), "coloured", 2)
        store.deploy(Reference("coloured", version=2))
        until(lambda: served.versions(store.root / "coloured") == [2, 1], 30, "it is not remembered")
        shutil.copytree(store.path("coloured", 1), store.path("coloured", 3))
        numbered(store.path("coloured", 3), "coloured", 3)
        store.deploy(Reference("coloured", version=3), check=lambda opened: flipped(opened.path))
        until(lambda: client.get("/health/ready")[1]["refused"], 30, "it is not refused")
        data = Pictures.load(store.path("coloured", 1) / "golden.npz").encoded[0]
        assert client.predict(data)[1]["model"]["version"] == 2
        assert served.versions(store.root / "coloured") == [2, 1]
    finally:
        deployment.end()
