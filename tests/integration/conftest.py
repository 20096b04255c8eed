"""A real home folder: digits trained, exported and deployed once for all tests of this tier."""

import json
import os
import shutil

import pytest

import tintype
from artifacts import files
from artifacts.pictures import Pictures
from artifacts.run import find
from artifacts.store import Reference, Store
from tests.real import Home, serving


@pytest.fixture(scope="session")
def as_measured():
    """How fast a variant runs is measured by these, unless a test's exports are measured for a moment only."""
    from exporters import profile

    return {name: getattr(profile, name) for name in ("SECONDS", "_in_a_process")}


@pytest.fixture(scope="module", autouse=True)
def _measured_for_a_moment(as_measured):
    """How fast the exports of single tests run is measured, but in this process and briefly."""
    from exporters import profile

    def in_this_process(path, shape, threads):
        return list(profile._points(path, shape, threads))  # noqa: SLF001 - it runs in a process of its own otherwise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "SECONDS", 0.001)
        patch.setattr(profile, "_in_a_process", in_this_process)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """`made_once(name, make)`: a folder that one of the processes which test side by side makes for all."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name, make):
        path, done = shared / name, shared / f"{name}.done"
        with files.locked(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir()
                make(path)
                done.touch()
        return path

    return made


@pytest.fixture(scope="session")
def home(made_once, tmp_path_factory):
    """digits@1, in fp32 alone, in production; tests may add models and jobs to it, and leave digits as it is."""
    path = tmp_path_factory.mktemp("home")
    shutil.copytree(made_once("exported", _trained_and_exported), path, dirs_exist_ok=True)
    _tintype(path, "deploy", "digits")
    return Home(path)


def _trained_and_exported(path):
    _tintype(path, "train", "digits", "--preset", "digits", "--epochs", "6")
    _tintype(path, "export", "latest", "--precision", "fp32")


@pytest.fixture(scope="session")
def whole(home, made_once, as_measured):
    """Another home, with digits@1 of the same run in every precision, in production; tests leave it as it is."""

    from exporters import profile

    def exported_and_deployed(path):
        shutil.copytree(home.path / "runs", path / "runs")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in as_measured.items():
                patch.setattr(profile, name, value)
            _tintype(path, "export", "latest")
        _tintype(path, "deploy", "digits")

    return Home(made_once("whole", exported_and_deployed))


@pytest.fixture(scope="session")
def coloured_run(tmp_path_factory):
    """A run of pictures of 16 × 20 in colour, with 4 labels: nothing of it can be swapped unseen."""
    from tests import runs
    from training import models

    shape, classes = (16, 20, 3), 4
    model = models.build("cnn-stride2-bn", shape, classes, seed=0)
    training = runs.drawn(shape, classes, 64, seed=1)
    runs.settle(model, training)
    test = runs.drawn(shape, classes, 40, seed=2)
    return runs.write(tmp_path_factory.mktemp("runs") / "coloured", model, test, training, name="coloured")


@pytest.fixture(scope="session")
def coloured(coloured_run, tmp_path_factory):
    """A store with coloured@1, in fp32 alone, in production; tests leave it as it is."""
    from exporters.export import export
    from exporters.variants import Order

    store = Store(tmp_path_factory.mktemp("models"))
    export(coloured_run, store, "coloured", Order(("fp32",)))
    store.deploy(Reference("coloured"))
    return store


@pytest.fixture(scope="session")
def pictures(home):
    """Held-out digits, encoded."""
    return Pictures.load(find(home.path / "runs", "latest").pictures_file)


@pytest.fixture(scope="session")
def server(home):
    """A client of a server that all tests of this tier share."""
    with serving(home) as (_, client):
        yield client


@pytest.fixture(scope="session")
def publish_again(home):
    """`publish_again(store, name)`: the version of `home` once more, in another store; quicker than an export."""

    def published(store, name="digits"):
        with store.staging(name) as folder:
            shutil.copytree(home.path / "models" / "digits" / "1", folder, dirs_exist_ok=True)
            manifest = json.loads((folder / "manifest.json").read_text())
            (folder / "manifest.json").unlink()
            body = {key: manifest[key] for key in manifest if key not in ("name", "version", "files", "sha256")}
            return store.publish(name, folder, body, {})

    return published


def _tintype(path, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINTYPE_HOME", str(path))
        assert tintype.main([*arguments]) == 0
