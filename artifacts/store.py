"""The store: `models/<name>/<version>/`, published in one atomic step, and the aliases.

    models/digits/3/              a version: a bundle, never altered once it is there
    models/digits/aliases.json    {"production": 3, "previous": 2}, replaced atomically
    models/digits/audit.jsonl     who moved an alias, when, from where to where, and why
    models/digits/served.json     the versions that have answered well, the last one first
    models/digits/rollouts/       versions that had a share of the requests first, and what came of it
    models/digits/config.pbtxt    for Triton
    models/digits/.versions       the last number given out; a number is never given twice, not after a deletion either
    models/digits/.tmp-…/         a version in the making: no server takes a name that is not a number
    models/tf_serving.config      what the aliases of all models name, for TensorFlow Serving

A maker holds a kernel lock on its `.tmp-…` directory, so the next publish can tell one that died and clear it away.
"""

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import aliases as aliases_of
from artifacts import audit, bundle, files, tf_serving
from artifacts.aliases import LOCK, PREVIOUS, PRODUCTION
from artifacts.audit import Change, Note
from artifacts.errors import BadBundle, Busy, ModelRequired, UnknownModel, WrongUse

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
TEMPORARY = ".tmp-"

Check = Callable[[bundle.Bundle], object]


class Reference(NamedTuple):
    """NAME, NAME@3 or NAME@alias, as a person writes it."""

    name: str
    version: int | None = None
    alias: str | None = None


def parse(text: str) -> Reference:
    """Read a reference such as `digits`, `digits@3` or `digits@canary`.

    Raises:
        WrongUse: the name is not one that a model can have.
    """
    name, _, rest = text.partition("@")
    check_name(name)
    if re.fullmatch("[0-9]{1,18}", rest):
        return Reference(name, version=int(rest))
    return Reference(name, alias=rest or None)


def check_name(name: str) -> str:
    """The name, when a model can have it.

    Raises:
        WrongUse: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise WrongUse(f"a name has 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit; received {name!r}")
    if name == tf_serving.FILE:
        raise WrongUse(f"the name {name!r} is that of the store's file for TensorFlow Serving; choose another")
    return name


def point(aliases: dict[str, int], alias: str, version: int) -> None:
    """Have an alias name a version; what was in production becomes the previous one."""
    if alias == PRODUCTION and aliases.get(PRODUCTION, version) != version:
        aliases[PREVIOUS] = aliases[PRODUCTION]
    aliases[alias] = version


class Store:
    """All models under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Models that have at least one version."""
        found = (path.name for path in sorted(self.root.glob("*")) if _NAME.fullmatch(path.name) and path.is_dir())
        return [name for name in found if self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """A model's versions, oldest first."""
        paths = (self.root / name).glob("[0-9]*")
        return sorted(int(path.name) for path in paths if _VERSION.fullmatch(path.name) and path.is_dir())

    def aliases(self, name: str) -> dict[str, int]:
        """{"production": 3, …}, as `artifacts.aliases.read` has it."""
        return aliases_of.read(self.root / name)

    def _all_aliases(self) -> dict[str, dict[str, int]]:
        """{model: its aliases}, but for the models whose aliases are damaged."""
        found = {}
        for name in self.names():
            with suppress(BadBundle):
                found[name] = self.aliases(name)
        return found

    def path(self, name: str, version: int) -> Path:
        """Where a version lies."""
        return self.root / name / str(version)

    def resolve(self, reference: Reference) -> int:
        """The version that a reference means; without version or alias, the one in production.

        Raises:
            UnknownModel: there is no such model, version or alias.
        """
        name, version, alias = reference
        versions = self.versions(check_name(name))
        if not versions:
            have = f"the models are: {', '.join(self.names())}" if self.names() else "there is none yet"
            raise UnknownModel(f"there is no model {name!r}; {have}")
        if version is None:
            aliases = self.aliases(name)
            version = aliases.get(alias or PRODUCTION)
            if version is None and alias is None:
                raise UnknownModel(f"no version of {name} is in production; run: tintype deploy {name}")
            if version is None:
                have = ", ".join(aliases) or "none"
                raise UnknownModel(f"{name} has no alias {alias!r}; its aliases are: {have}")
        if version not in versions:
            raise UnknownModel(f"{name} has no version {version}; its versions are: {', '.join(map(str, versions))}")
        return version

    def in_production(self) -> list[str]:
        """Models with a version in production; one whose aliases are damaged is not among them."""
        return [name for name, aliases in self._all_aliases().items() if PRODUCTION in aliases]

    def only(self) -> str:
        """The model to take when none is named: the only one in production.

        Raises:
            UnknownModel: none is in production.
            ModelRequired: more than one is.
        """
        live = self.in_production()
        if len(live) == 1:
            return live[0]
        if live:
            raise ModelRequired(f"{len(live)} models are in production, so name one of: {', '.join(live)}")
        raise UnknownModel("no model is in production; run: tintype deploy NAME (see `tintype models`)")

    def catalogue(self, name: str | None = None) -> list[dict[str, Any]]:
        """[{"name", "version", "aliases", "sha256", "labels", "variants", "metrics"}, …], of one model or of all.

        A version whose manifest cannot be trusted has "error" instead of what the manifest would say.

        Raises:
            UnknownModel: there is no model of this name.
        """
        if name is not None and not self.versions(check_name(name)):
            self.resolve(Reference(name))
        return [
            self._described(model, version)
            for model in (self.names() if name is None else [name])
            for version in self.versions(model)
        ]

    def _described(self, name: str, version: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": name, "version": version, "aliases": []}
        try:
            entry["aliases"] = sorted(alias for alias, named in self.aliases(name).items() if named == version)
            manifest = bundle.read(self.path(name, version)).manifest
        except BadBundle as error:
            return {**entry, "error": str(error)}
        return entry | {key: manifest[key] for key in ("sha256", "labels", "variants", "metrics")}

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """A new folder to build a version in, on the store's file system; gone afterwards unless it was published."""
        home = self.root / check_name(name)
        home.mkdir(parents=True, exist_ok=True)
        with files.locked(home / LOCK):
            self._clear_dead(home)
            folder = home / f"{TEMPORARY}{secrets.token_hex(8)}"
            folder.mkdir()
            lock = files.locked(folder)
            lock.__enter__()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.__exit__(None, None, None)

    def publish(self, name: str, folder: Path, manifest: dict[str, Any], beside: dict[str, str]) -> bundle.Bundle:
        """Make `folder` (from `staging`) the next version: number it, seal it, bring it to the disk, rename it.

        `manifest` lacks only name and version; `beside` are files for the model's own folder, such as config.pbtxt.
        A kill at any moment leaves no version or a whole one.
        """
        home = self.root / name
        tf_serving.write(self.root, self._served)  # missing, or old since one was killed who had moved an alias
        with files.locked(home / LOCK):
            version = self._next_version(home)
            bundle.seal(folder, {"name": name, "version": version, **manifest})
            bundle.read(folder)  # what could not be opened is not published
            files.fsync_tree(folder)
            for file, text in beside.items():
                files.write_atomic(home / file, text)
            folder.rename(home / str(version))
            files.fsync(home)
        return bundle.read(home / str(version))

    def deploy(
        self, reference: Reference, alias: str = PRODUCTION, check: Check | None = None, note: Note | None = None
    ) -> int:
        """Point an alias at a version (the newest when the reference names none) after verifying every byte of it.

        `check` is given the bundle and raises when it will not answer as it should. `note` says who does it, and why;
        without one, the person who runs this process does.

        Raises:
            UnknownModel: there is no such version.
            BadBundle: it is damaged; the alias stays where it was.
        """
        version = self.verified(reference, alias, check)
        action = "deploy" if alias == PRODUCTION else "alias"
        with self.changing(reference.name, Change(action, alias, note or audit.here())) as aliases:
            if version not in self.versions(reference.name):
                raise UnknownModel(f"{reference.name}@{version} was removed meanwhile; its alias stays where it was")
            point(aliases, alias, version)
        return version

    def verified(self, reference: Reference, alias: str, check: Check | None = None) -> int:
        """The version that `deploy` would point an alias at, once it has passed.

        Raises:
            WrongUse, UnknownModel, BadBundle: as `deploy`.
        """
        if check_name(alias).isdigit():
            raise WrongUse(f"an alias must not read as a version; received {alias!r}")
        if reference.version is None and reference.alias is None and self.versions(reference.name):
            reference = Reference(reference.name, version=self.versions(reference.name)[-1])
        version = self.resolve(reference)
        opened = bundle.verify(self.path(reference.name, version))
        if check:
            check(opened)
        return version

    def rollback(self, name: str, note: Note | None = None) -> int:
        """Put the previous version back into production; the one that was there becomes the previous one.

        Raises:
            UnknownModel: there is no previous version.
            BadBundle: the previous version is damaged; nothing changes.
        """
        if PRODUCTION not in self.aliases(check_name(name)):
            self.resolve(Reference(name))  # says what is missing; a version that was deleted can be rolled back from
        with self.changing(name, Change("rollback", PRODUCTION, note or audit.here())) as aliases:
            if PREVIOUS not in aliases:
                versions = ", ".join(map(str, self.versions(name)))
                raise UnknownModel(f"{name} has no previous version to go back to; its versions: {versions}")
            bundle.verify(self.path(name, aliases[PREVIOUS]))
            aliases[PRODUCTION], aliases[PREVIOUS] = aliases[PREVIOUS], aliases[PRODUCTION]
            return aliases[PRODUCTION]

    @contextmanager
    def changing(self, name: str, change: Change, then: Callable[[], None] | None = None) -> Iterator[dict[str, int]]:
        """The aliases to change, as `artifacts.aliases.changing` has it; TensorFlow Serving is told of them as well."""
        with aliases_of.changing(self.root / name, change, then) as aliases:
            yield aliases
        tf_serving.write(self.root, self._served)

    def _served(self) -> Iterator[tf_serving.Model]:
        """What TensorFlow Serving can load of what the aliases name."""
        for name, aliases in self._all_aliases().items():
            versions = [each for each in self.versions(name) if (self.path(name, each) / tf_serving.GRAPH).is_file()]
            labels = {alias: each for alias, each in aliases.items() if each in versions and _NAME.fullmatch(alias)}
            if labels:
                yield tf_serving.Model(name, self.root.resolve() / name, labels)

    def _next_version(self, home: Path) -> int:
        """Give out a number, on the disk before it is used."""
        counter = home / ".versions"
        try:
            last = int(counter.read_text()) if counter.exists() else 0
        except ValueError:
            raise BadBundle(f"{counter} is damaged; write the highest number that was ever given out into it") from None
        version = max([last, *self.versions(home.name)]) + 1
        files.write_atomic(counter, f"{version}\n")
        return version

    def _clear_dead(self, home: Path) -> None:
        """Remove what makers that died have left."""
        for folder in home.glob(f"{TEMPORARY}*"):
            try:
                with files.locked(folder, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
            except (Busy, FileNotFoundError):
                continue
        for part in home.glob(".*.part"):  # every file beside the versions is written under the model's lock
            part.unlink()
