"""Room for new versions: what no alias names and nobody works with goes, but for the newest good ones."""

import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from artifacts import aliases, bundle, files, served
from artifacts.errors import BadBundle, UnknownModel, WrongUse
from artifacts.store import TEMPORARY, Store, check_name

LEAST = 2  # good versions that are always kept: the one that answers, and one to go back to


class Pruned(NamedTuple):
    """What was done with a model's versions."""

    removed: list[int]
    kept: dict[int, str]  # version -> why


def prune(
    store: Store, name: str, keep: int = LEAST, pinned: Callable[[], Collection[int]] = tuple, *, dry: bool = False
) -> Pruned:
    """Remove a model's versions but for the `keep` newest good ones, those that an alias names, and those in use.

    A version is gone in one step, as it came. Its number is not given again.

    Args:
        store: where the model is.
        name: of the model.
        keep: good versions, whether aliases name them or not; a damaged one does not count.
        pinned: gives the versions that are in use; asked while no alias can move.
        dry: say what would be done, and do nothing.

    Raises:
        WrongUse: `keep` is less than LEAST.
        UnknownModel: there is no such model.
        BadBundle: the aliases cannot be read.
    """
    if keep < LEAST:
        raise WrongUse(f"at least {LEAST} good versions are kept: one that answers, one to go back to; received {keep}")
    home = store.root / check_name(name)
    if not store.versions(name):
        raise UnknownModel(f"there is no model {name!r}; the models are: {', '.join(store.names()) or 'none'}")
    with files.locked(home / aliases.LOCK):
        kept = _kept(store, name, keep, pinned())
        removed = [version for version in store.versions(name) if version not in kept]
        gone = [] if dry else [_taken_away(home, version) for version in removed]
    for folder in gone:  # if a kill comes first, the next one who publishes does it
        shutil.rmtree(folder, ignore_errors=True)
    return Pruned(removed, kept)


def _kept(store: Store, name: str, keep: int, pinned: Collection[int]) -> dict[int, str]:
    """The versions to keep, oldest first, and why."""
    why = dict.fromkeys(pinned, "a job works with it")
    if last := served.last(store.root / name):
        why[last] = "it was the last to answer well"
    for alias, version in sorted(store.aliases(name).items(), reverse=True):
        why[version] = f"it is {alias}" if alias != aliases.PRODUCTION else "it is in production"
    good = 0
    for version in reversed(store.versions(name)):
        if good >= keep:
            break
        if _is_good(store.path(name, version)):
            good += 1
            why.setdefault(version, f"it is one of the {keep} newest good ones")
    return {version: why[version] for version in store.versions(name) if version in why}


def _is_good(path: Path) -> bool:
    try:
        bundle.verify(path)
    except BadBundle:
        return False
    return True


def _taken_away(home: Path, version: int) -> Path:
    """The version under a name that no server takes for one."""
    folder = home / f"{TEMPORARY}{secrets.token_hex(8)}"
    (home / str(version)).rename(folder)
    files.fsync(home)
    return folder
