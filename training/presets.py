"""The presets: which there are, and what each one's TOML says.

model        a name in `training.models.MODELS`
parameters   of that model at `input` and `classes` classes; a test counts them
classes      that it was designed for: 10, where nothing is said
input        height x width x channels it was designed for; folders of pictures are brought to it
smallest     least height and width that the model accepts
data         what it was designed for          expected   the score, and where it comes from
[recipe]     values for `training.config.Recipe`
"""

import difflib
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from artifacts.errors import WrongUse

FOLDER = Path(__file__).parent / "presets"
DEFAULTS = {
    "digits": "digits",
    "mnist": "cnn-stride2-bn",
    "fashion_mnist": "cnn-stride2-bn",
    "crosses_noughts": "crosses-noughts",
}
FOLDER_DEFAULT = "resnet20v1-fast"


@dataclass(frozen=True)
class Preset:
    """One TOML, as it stands."""

    name: str
    model: str
    parameters: int
    input: str
    smallest: int
    data: str
    expected: str
    recipe: dict[str, Any]
    classes: int = 10


def read(name: str) -> Preset:
    """Read a preset.

    Raises:
        WrongUse: there is none of this name; the nearest is named.
    """
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise WrongUse(f"there is no preset {name!r}; {meant}The presets are: {', '.join(known)}")
    return Preset(name=name, **tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8")))


def default(data: str) -> str:
    """The preset for data of this name, or for a folder, when none is named."""
    return DEFAULTS.get(data, FOLDER_DEFAULT)


def names() -> list[str]:
    """All presets, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def presets() -> list[dict[str, Any]]:
    """[{"name", "model", "parameters", "input", "data", "expected"}, …], without loading Keras."""
    shown = ("name", "model", "parameters", "input", "data", "expected")
    return [{key: asdict(read(name))[key] for key in shown} for name in names()]
