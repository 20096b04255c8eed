"""What `DATA` on the command line means."""

import re
from pathlib import Path

from artifacts.errors import WrongUse
from training import arrays, folder
from training.dataset import AtInput, Data

NAMED = ("digits", "mnist")


def load(name: str, at_input: AtInput, data_dir: Path | None) -> Data:
    """Read `digits`, `mnist` or a folder of pictures.

    Raises:
        BadData: it is damaged, or cannot be trained on.
        WrongUse: there is no such data, or `data_dir` with data that has no local copies.
    """
    if name == "mnist":
        return arrays.mnist(at_input, data_dir)
    if data_dir is not None:
        raise WrongUse(f"--data-dir holds local copies of mnist; {name!r} has none, leave it out")
    if name == "digits":
        return arrays.digits(at_input)
    if not Path(name).is_dir():
        raise WrongUse(f"there is no folder {name!r}; DATA is digits, mnist, or a folder such as pets/cat/*.jpg")
    return folder.read(Path(name), at_input)


def model_name(data: str) -> str:
    """A name for the model of this data: `Cats & Dogs/` -> `cats-dogs`."""
    base = data if data in NAMED else Path(data).resolve().name
    plain = re.sub(r"[^a-z0-9._-]+", "-", base.lower()).strip("-._")
    return plain[:63] or "model"
