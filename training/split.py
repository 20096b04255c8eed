"""The division into train, validation and test: stratified, seeded, recorded."""

import json

import numpy as np
from numpy.typing import NDArray

from artifacts import files
from artifacts.errors import BadData, WrongUse
from training.dataset import PARTS, Data

Split = dict[str, NDArray[np.int64]]  # part -> ascending positions in the data


def divide(data: Data) -> Split:
    """Keep the parts that the data set gives, and cut the missing ones from train, class by class.

    Raises:
        WrongUse: as `cut_shares`.
        BadData: a class has too few pictures.
    """
    shares = cut_shares(data)
    rng = np.random.default_rng(data.recipe.seed)
    split: dict[str, list[int]] = {part: np.flatnonzero(data.parts == part).tolist() for part in PARTS}
    pool, split["train"] = np.array(split["train"]), []
    for number, label in enumerate(data.labels):
        mine = rng.permutation(pool[data.classes[pool] == number])
        if len(mine) <= len(shares):
            raise BadData(
                f"the class {label!r} has {len(mine)} pictures to divide into train, {' and '.join(shares)}; "
                f"at least {len(shares) + 1} are needed"
            )
        start = 0
        for part, share in shares.items():
            end = start + max(1, round(len(mine) * share))
            split[part] += mine[start:end].tolist()
            start = end
        split["train"] += mine[start:].tolist()
    return {part: np.array(sorted(positions), dtype=np.int64) for part, positions in split.items()}


def write(data: Data, split: Split) -> str:
    """split.json: which file went where. `digest` is a sha256 over all of it but the reasons for what was skipped."""
    body = {part: [_entry(data, position) for position in positions] for part, positions in split.items()}
    digest = files.sha256(json.dumps([body, [entry["file"] for entry in data.skipped]]).encode())
    lines = [f'"{key}": [\n{_lines(entries)}\n]' for key, entries in {**body, "skipped": data.skipped}.items()]
    return "{\n" + ",\n".join(lines) + f',\n"digest": "{digest}"\n}}\n'


def cut_shares(data: Data) -> dict[str, float]:
    """The shares of the parts that have to be cut from train: {"validation": 0.15}.

    Raises:
        WrongUse: the recipe sets the share of a part that the data set itself gives.
    """
    asked = {"validation": data.recipe.validation_share, "test": data.recipe.test_share}
    shares = {}
    for part, share in asked.items():
        if part not in data.parts:
            shares[part] = share or data.shares[part]
        elif share is not None:
            raise WrongUse(f"{part}_share cannot be set: the data set has its own {part} pictures; leave it out")
    return shares


def _entry(data: Data, position: int) -> dict[str, str]:
    label = data.labels[data.classes[position]]
    return {"file": data.files[position], "sha256": data.sha256[position], "label": label}


def _lines(entries: list[dict[str, str]]) -> str:
    return ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
