"""What is measured: a `resnet20v1` bundle and a folder of 32×32 JPEG files, made once below `var/bench`.

The pictures are the CIFAR-10 test set where `../shared/data` holds it, else generated ones of the same size. The
network is trained for one epoch on 500 of them: its speed does not depend on what it has learnt.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from artifacts.bundle import Bundle, verify
from artifacts.manifest import PRECISIONS

ROOT = Path(__file__).parents[1]
WORK = ROOT / "var" / "bench"
ARCHIVE = ROOT.parent / "shared" / "data" / "cifar10_jpeg.tar.gz"
CLASSES, EACH = 10, 1000
TRAINED_EACH = 50
MODEL = "bench"


class Subject(NamedTuple):
    """Home folder, bundle, the folder of 10,000 files, and one with a tenth of them."""

    home: Path
    bundle: Bundle
    folder: Path
    tenth: Path


def make() -> Subject:
    """Make what is missing."""
    folder = make_pictures()
    tenth = subset(folder, WORK / "tenth", EACH // 10)
    home = WORK / "home"
    if not (home / "models" / MODEL / "aliases.json").exists():
        small = subset(folder, WORK / "training", TRAINED_EACH)
        run = json.loads(tintype(home, "train", str(small), "--preset", "resnet20v1", "--epochs", "1", "--json"))["run"]
        tintype(home, "export", run, "--name", MODEL, "--json")
        tintype(home, "deploy", MODEL, "--json")
    version = json.loads((home / "models" / MODEL / "aliases.json").read_text())["production"]
    return Subject(home, verify(home / "models" / MODEL / str(version)), folder, tenth)


def make_pictures() -> Path:
    """The folder of all pictures."""
    folder = WORK / "pictures"
    if not folder.exists():
        _write_pictures(folder)
    return folder


def tintype(home: Path, *arguments: str) -> str:
    """Run a command in a home folder of its own; return what it printed."""
    command = [sys.executable, str(ROOT / "tintype.py"), *arguments]
    done = subprocess.run(command, env=environment(home), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


def environment(home: Path) -> dict[str, str]:
    """This process's, with the home folder; in fp32, as the rivals run it."""
    return {**os.environ, "TINTYPE_HOME": str(home), "TINTYPE_VARIANT": PRECISIONS[0]}


def _write_pictures(folder: Path) -> None:
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if ARCHIVE.exists():
        with tarfile.open(ARCHIVE) as archive:
            members = [member for member in archive if member.name.startswith("cifar10/test/")]
            archive.extractall(part, members, filter="data")
        (part / "cifar10" / "test").rename(folder)
        shutil.rmtree(part)
        return
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (part / f"class-{label}").mkdir()
        for number in range(EACH):
            coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            coarse.resize((32, 32), Image.Resampling.BICUBIC).save(part / f"class-{label}" / f"{number:04d}.jpg")
    part.rename(folder)


def subset(folder: Path, target: Path, each: int) -> Path:
    """A folder with the first files of each class."""
    if not target.exists():
        for label in sorted(folder.iterdir()):
            (target / label.name).mkdir(parents=True)
            for file in sorted(label.iterdir())[:each]:
                shutil.copyfile(file, target / label.name / file.name)
    return target
