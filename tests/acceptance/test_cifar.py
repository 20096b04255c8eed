import csv
import random
import shutil
import time

import pytest

from artifacts.bundle import verify
from artifacts.store import Store
from tests.real import Home

RESULTS = ("results.csv", "results.parquet", "rejects.csv", "contact_sheet.html", "summary.json")
TRAINED_EACH = 100  # pictures a class: what the network has learnt does not matter here


@pytest.fixture(scope="module")
def cifar(tmp_path_factory, unpacked):
    """A home with a resnet20v1 bundle, and the folder of 10,000 test pictures."""
    home, small = Home(tmp_path_factory.mktemp("home")), tmp_path_factory.mktemp("small")
    folder = unpacked("cifar10_jpeg")
    for label in sorted((folder / "train").iterdir()):
        (small / label.name).mkdir()
        for file in sorted(label.iterdir())[:TRAINED_EACH]:
            shutil.copyfile(file, small / label.name / file.name)
    home.json("train", small, "--preset", "resnet20v1", "--epochs", "1", "--name", "cifar")
    home.json("export", "latest")
    home.json("deploy", "cifar")
    return home, folder / "test"


def read(job):
    return {name: (job / name).read_bytes() for name in RESULTS}


def test_every_one_of_10000_files_has_one_row(cifar, tmp_path):
    home, folder = cifar
    done = home.json("classify", folder, "--out", tmp_path / "out")
    assert (done["total"], done["rejected"]) == (10_000, 0)
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))


def test_kills_at_random_moments_change_no_byte_of_the_results(cifar, tmp_path):
    home, folder = cifar
    home.json("classify", folder, "--out", tmp_path / "unbroken")
    moments = random.Random(11)
    for _ in range(20):
        process = home.start("classify", folder, "--out", tmp_path / "broken")
        time.sleep(moments.uniform(0.3, 2.0))
        process.kill()
        process.wait()
        process.stderr.close()
    home.json("classify", folder, "--out", tmp_path / "broken")
    assert read(tmp_path / "broken") == read(tmp_path / "unbroken")


def test_kills_at_random_moments_of_exports_never_show_a_half_version(cifar):
    home, _ = cifar
    store = Store(home.path / "models")
    moments = random.Random(12)
    numbers = store.versions("cifar")
    for _ in range(12):
        process = home.start("export", "latest")
        time.sleep(moments.uniform(3, 10))
        process.kill()
        process.wait()
        process.stderr.close()
        for number in store.versions("cifar"):
            assert verify(store.path("cifar", number)).version == number
    newest = home.json("export", "latest")["version"]
    assert newest > max(store.versions("cifar")[:-1], default=0)
    assert len(store.versions("cifar")) > len(numbers)
    assert not list((store.root / "cifar").glob(".tmp-*"))
