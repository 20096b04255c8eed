"""What `DATA` on the command line means."""

import difflib
import re
from pathlib import Path

from artifacts.data_sets import LOCAL, NAMED
from artifacts.errors import WrongUse
from training.data import arrays, cifar10, drawings, duplicates, folder, idx
from training.data.dataset import AtInput, Data


def load(name: str, at_input: AtInput, data_dir: Path | None, cache: Path) -> Data:
    """Read one of NAMED, or a folder of pictures.

    Args:
        name: which, or the folder's path.
        at_input: decides the input, given the data set's own shape.
        data_dir: local copies of the files of one of LOCAL.
        cache: the folder for downloads, and for decoded pictures that do not fit in memory.

    Raises:
        BadData: it is damaged, cannot be downloaded, or cannot be trained on.
        WrongUse: there is no such data, no such label, or `data_dir` is wrong.
        TintypeError: the decoded pictures do not fit on the disk.
    """
    _check(name, data_dir)
    return duplicates.noted(_read(name, at_input, data_dir, cache))


def model_name(data: str) -> str:
    """A name for the model of this data: `Cats & Dogs/` -> `cats-dogs`."""
    base = data if data in NAMED else Path(data).resolve().name
    plain = re.sub(r"[^a-z0-9._-]+", "-", base.lower()).strip("-._")
    return plain[:63] or "model"


def _read(name: str, at_input: AtInput, data_dir: Path | None, cache: Path) -> Data:
    downloads = cache / "downloads"
    match name:
        case "digits":
            scans = arrays.digits()
        case "crosses_noughts":
            scans = drawings.crosses_noughts()
        case "mnist" | "fashion_mnist":
            scans = idx.read(name, data_dir, downloads)
        case "cifar10":
            if data_dir and cifar10.has_class_folders(data_dir):
                return folder.read(data_dir, at_input, cache, cifar10.SHAPE, cifar10.LABELS)
            scans = cifar10.read(data_dir or cifar10.download(downloads / name))
        case _:
            return folder.read(Path(name), at_input, cache)
    return arrays.data(scans, at_input, cache)


def _check(name: str, data_dir: Path | None) -> None:
    if name not in NAMED and not Path(name).is_dir():
        near = difflib.get_close_matches(name, NAMED, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        known = ", ".join(NAMED)
        raise WrongUse(f"there is no folder {name!r}; {meant}DATA is {known}, or a folder such as pets/cat/*.jpg")
    if data_dir is not None and name not in LOCAL:
        known = " or ".join(LOCAL)
        raise WrongUse(f"--data-dir holds local copies of {known}; {name!r} has none, leave it out")
    if data_dir is not None and not data_dir.is_dir():
        raise WrongUse(f"there is no folder {str(data_dir)!r}; --data-dir is where the files of {name} lie")
