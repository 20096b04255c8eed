"""What a person asked to be trained: from the command line, or from the config.toml of a run that is to go on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.data_sets import NAMED
from artifacts.errors import BadData, BadRun, WrongUse
from artifacts.pictures import LEAST
from artifacts.run import Run
from artifacts.store import check_name
from training import presets
from training.config import READERS, Recipe, at_input, resolve, write_shape
from training.data import split
from training.data.dataset import PARTS, Data
from training.data.sources import load, model_name
from training.narration import say
from training.readers import Shape

FEWEST = 200  # validation pictures by which a preset's share can choose the best epoch


@dataclass(frozen=True)
class Order:
    """Everything that decides a training."""

    name: str  # of the model
    data: str
    data_dir: Path | None
    preset: presets.Preset
    recipe: Recipe
    asked: frozenset[str] = frozenset()  # keys of the recipe that the person set
    after: str = ""  # the run whose division it keeps
    known: Mapping[str, str] = field(default_factory=dict)  # sha256 -> part, of that division

    def read(self, cache: Path) -> tuple[Data, split.Split]:
        """The pictures, with the recipe's input decided, and their division.

        Raises:
            WrongUse: a share is set of a part that the data set itself gives.
            BadData: the pictures are missing, damaged, or cannot be trained on.
        """
        data = load(self.data, self._at_input, self.data_dir, cache)
        if len(data.files) < LEAST:
            raise BadData(f"{self.data} has {len(data.files)} readable pictures; at least {LEAST} are needed")
        given = {f"{part}_share" for part in ("validation", "test") if part in data.parts}
        if wrong := given & self.asked:
            key = min(wrong)
            part = key.removesuffix("_share")
            raise WrongUse(f"{key} cannot be set: the data set has its own {part} pictures; leave it out")
        share = data.recipe.validation_share or 1
        if "validation_share" not in self.asked and share * np.count_nonzero(data.parts == "train") < FEWEST:
            given.add("validation_share")  # the preset's is meant for its own data set; these pictures are few
        data = replace(data, recipe=replace(data.recipe, **dict.fromkeys(given)))
        return data, split.divide(data, self.known)

    def config(self, data: Data, backend: str) -> dict[str, Any]:
        """What config.toml holds."""
        local = {"data_dir": str(self.data_dir.resolve())} if self.data_dir else {}
        source = self.data if self.data in NAMED else str(Path(self.data).resolve())
        shares = {f"{part}_share": share for part, share in split.cut_shares(data).items()}
        after = {"after": self.after} if self.after else {}
        about = {"name": self.name, "data": source, **local, **after}
        network = {"preset": self.preset.name, "model": self.preset.model}
        return {**about, **network, "backend": backend, **data.recipe.to_toml(), **shares}

    def _at_input(self, native: Shape | None) -> Recipe:
        """As `config.at_input`; a person is told when pictures are enlarged unasked."""
        decided = at_input(self.recipe, self.preset, native)
        if native and not self.recipe.input and decided.input != native:
            came, goes, least = write_shape(native), write_shape(decided.input), self.preset.smallest
            why = f"the preset {self.preset.name} needs at least {least}x{least}"
            say(f"pictures of {came} are enlarged to {goes}: {why}")
        return decided


def fresh(data: str, preset: str | None, name: str | None, data_dir: Path | None, overrides: dict[str, str]) -> Order:
    """What the command line asks for.

    Raises:
        WrongUse: a preset, key, value or name that does not exist or makes no sense.
    """
    chosen = presets.read(preset or presets.default(data))
    recipe = resolve(chosen, overrides)
    return Order(check_name(name or model_name(data)), data, data_dir, chosen, recipe, frozenset(overrides))


def again(  # noqa: PLR0913, PLR0917 - what the command line gives
    earlier: Run, data: str, preset: str | None, name: str, data_dir: Path | None, overrides: dict[str, str]
) -> Order:
    """What to train after an earlier run: its network and recipe, unless a preset is named, and its division.

    Pictures that the earlier run knew stay in their part: what it was trained on never becomes a test of its successor.

    Raises:
        BadRun: it was not trained here, or its config.toml cannot be read.
        WrongUse: as in `fresh`.
    """
    asked = fresh(data, preset, name, data_dir, overrides) if preset else _as(earlier, data, name, data_dir, overrides)
    return replace(asked, after=earlier.id, known=_parts(earlier))


def _as(earlier: Run, data: str, name: str, data_dir: Path | None, overrides: dict[str, str]) -> Order:
    config = earlier.config()
    if "preset" not in config:
        raise BadRun(f"{earlier.id} was not trained here, so that there is no recipe to go by; name one with --preset")
    known = presets.read(config["preset"])
    preset = replace(known, model=config["model"], recipe={key: config[key] for key in READERS if key in config})
    return Order(check_name(name), data, data_dir, preset, resolve(preset, overrides), frozenset(overrides))


def _parts(run: Run) -> dict[str, str]:
    """sha256 -> part, of a run's division."""
    division = run.division()
    return {entry["sha256"]: part for part in PARTS for entry in division.get(part, [])}


def of_run(run: Run) -> Order:
    """What a run was made of.

    Raises:
        BadRun: its config.toml cannot be read.
    """
    config = run.config()
    try:
        decided = {key: READERS[key](str(config[key])) for key in READERS if key in config}
        preset = replace(presets.read(config["preset"]), model=config["model"])
        data_dir = Path(config["data_dir"]) if "data_dir" in config else None
        after = config.get("after", "")
        known = _parts(run) if after else {}  # its own, which it has written before it began
        return Order(
            config["name"], config["data"], data_dir, preset, Recipe(**decided), frozenset(decided), after, known
        )
    except (KeyError, TypeError, ValueError, WrongUse) as error:
        raise BadRun(f"{run.path / 'config.toml'} does not describe a training ({error}); train anew") from error
