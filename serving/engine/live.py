"""Which version answers for a model: what its aliases name, as soon as that can, and until then the one before it.

    aliases.json moves ─▶ the new version is loaded beside the old, and proven ─▶ it joins ─▶ the old one is drained
                                     └─ it cannot be ─▶ the old one goes on, and health says why

One thread looks twice a second. A request finds what it asks for without a look at the disk.
"""

import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic

from artifacts import served
from artifacts.aliases import CANARY, FILE, PREVIOUS, PRODUCTION, SHADOW
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle, TintypeError
from artifacts.store import Reference, Store
from serving.engine.opened import Key, Model, Opened
from serving.errors import NoRuntime

LOOK_SECONDS = 0.5  # between two looks at the aliases
PATIENT_LOOKS = 10  # of so many looks, one tries to reach a host that is away

log = logging.getLogger(__name__)


class LiveModels(Generic[Model]):
    """Opened versions of a store, and which of them answer for whom."""

    def __init__(self, store: Store, open_model: Callable[[Bundle], Model]) -> None:
        self.store = store
        self._root = str(store.root)
        self._opened = Opened(store, open_model)
        self._current: dict[str, Model] = {}  # what answers for a model when no version is named
        self._candidates: dict[tuple[str, str], Model] = {}  # by name and alias: for the rollouts
        self._wanted: dict[str, int | None] = {}  # None: the aliases cannot be read
        self._trouble: dict[str, TintypeError] = {}  # why what is wanted does not answer
        self._resolved: dict[Reference, tuple[tuple[int, int], int]] = {}
        self._files: dict[str, tuple[int, int]] = {}
        self._only = ""
        self._lock = threading.RLock()
        self._closed = threading.Event()

    def start(self) -> None:
        """Follow the aliases from now on; to be called after the last fork."""
        threading.Thread(target=self._watch, name="aliases", daemon=True).start()

    def close(self) -> None:
        """Follow them no longer."""
        self._closed.set()

    def ready(self) -> list[Model]:
        """What answers for the models in production; what does not answer yet is opened, if it can be.

        Raises:
            NoRuntime: the settings ask for a runtime or device that is not to be had here.
        """
        if any(name not in self._current for name in self.store.in_production()):
            self.follow()
        for error in list(self._trouble.values()):
            if isinstance(error, NoRuntime):
                raise NoRuntime(str(error))
        return self.answering()

    def answering(self) -> list[Model]:
        """What answers for the models when no version is named."""
        return list(self._current.values())

    def opened(self) -> list[Model]:
        """Those that are open now."""
        return self._opened.all()

    def reasons(self) -> dict[str, str]:
        """{"digits@3": why it cannot be served}, of those that were tried."""
        return self._opened.reasons()

    def refused(self) -> list[dict[str, Any]]:
        """[{"name", "version", "serving", "reason"}]: what should answer and cannot, and what does instead."""
        found = []
        for name, error in list(self._trouble.items()):
            current = self._current.get(name)
            serving = current.bundle.version if current else None
            found.append({"name": name, "version": self._wanted.get(name), "serving": serving, "reason": str(error)})
        return found

    def serving(self, name: str) -> Model | None:
        """What answers for a model when no version is named; None while nothing does."""
        return self._current.get(name)

    def candidate(self, name: str, alias: str) -> Model | None:
        """The version under the alias of a rollout, once it can answer."""
        return self._candidates.get((name, alias))

    def reason(self, name: str, version: int) -> str:
        """Why a version cannot be served; empty when nothing is known against it."""
        return self._opened.reason((name, version))

    def find(self, reference: Reference) -> Model | None:
        """The model that a reference means, if it is open already: nothing is loaded."""
        if _is_plain(reference):
            return self._current.get(reference.name)
        return self._opened.find((reference.name, self._version(reference)))

    def get(self, reference: Reference) -> Model:
        """The model that a reference means, opened.

        When the version in production cannot be opened, the last one that answered well does, also after a restart.

        Raises:
            UnknownModel: there is no such model, version or alias.
            BadBundle: it cannot be opened.
        """
        if _is_plain(reference):
            return self._current.get(reference.name) or self._first(reference)
        key = reference.name, self._version(reference)
        found = self._opened.find(key)
        if found is None:
            found = self._opened.load(key)
            self._retire()
        return found

    def only(self) -> str:
        """The model to take when a request names none.

        Raises:
            UnknownModel: none is in production.
            ModelRequired: more than one is.
        """
        return self._only or self.store.only()

    def follow(self, *, patient: bool = False) -> None:
        """Bring what answers in step with the aliases; with `patient`, but for models whose host is away."""
        with self._lock:
            names = [*self.store.names(), *self._current]
            for name in dict.fromkeys(names):
                trouble = self._trouble.get(name)
                if not patient or trouble is None or isinstance(trouble, BadBundle):
                    self._follow(name)
            inside = {*self._current, *self._trouble}
            self._only = next(iter(inside)) if len(inside) == 1 else ""
            self._retire()

    def _first(self, reference: Reference) -> Model:
        """What answers for a model that nobody has asked for before, or that could not be opened."""
        name = reference.name
        if self.store.versions(name):
            with self._lock:
                self._follow(name)
        found = self._current.get(name)
        if found is None:
            self.store.resolve(reference)  # says what is missing
            error = self._trouble.get(name) or BadBundle(f"{name} cannot be served")
            raise type(error)(str(error))  # a new one: each raise would lengthen its traceback
        return found

    def _watch(self) -> None:
        for look in itertools.count():
            if self._closed.wait(LOOK_SECONDS):
                return
            try:
                self.follow(patient=look % PATIENT_LOOKS != 0)
            except OSError as error:
                log.warning("the store cannot be read: %s", error)
            except Exception:
                log.exception("a defect: the aliases could not be followed")

    def _follow(self, name: str) -> None:
        try:
            aliases = self._read(name)
        except BadBundle as error:
            aliases = {}
            self._wanted[name] = None
            self._trouble[name] = error
        else:
            if PRODUCTION not in aliases:
                self._leave(name)
                return
            self._wanted[name] = aliases[PRODUCTION]
        for version in dict.fromkeys(self._choices(name, aliases)):
            if self._joins(name, version):
                break
        for alias in (CANARY, SHADOW):
            self._prepare(name, alias, aliases.get(alias))

    def _read(self, name: str) -> dict[str, int]:
        """The aliases of a model; when they have moved, what was against the versions that they name is forgotten."""
        changed = self._changed(name)
        aliases = self.store.aliases(name)
        if self._files.get(name) != changed:
            self._files[name] = changed
            for version in aliases.values():
                self._opened.forgive((name, version))
        return aliases

    def _choices(self, name: str, aliases: dict[str, int]) -> Iterator[int]:
        """The versions that may answer for a model, the one to prefer first."""
        if PRODUCTION in aliases:
            yield aliases[PRODUCTION]
        if current := self._current.get(name):
            yield current.bundle.version
        yield from served.versions(self.store.root / name)
        if PREVIOUS in aliases:
            yield aliases[PREVIOUS]

    def _joins(self, name: str, version: int) -> bool:
        """Whether the search for what answers is over, be it with this version."""
        key, current, wanted = (name, version), self._current.get(name), self._wanted[name]
        try:
            model = self._opened.load(key)
            held = model.held()
        except BadBundle as error:
            self._opened.refuse(key, error)
            if version == wanted:
                self._trouble[name] = error
            if current and current.bundle.version == version:  # the workers refuse it
                del self._current[name]
            return False
        except TintypeError as error:  # not the version's fault, and another one would not fare better
            self._trouble[name] = error
            return True
        if current and current is not model and not held:
            return False  # it is being loaded elsewhere; the next choice is the current one
        self._current[name] = model
        if version == wanted:
            self._trouble.pop(name, None)
        if held:
            self._remember(name, version)
        return True

    def _prepare(self, name: str, alias: str, version: int | None) -> None:
        """Load the version of a rollout, if there is one."""
        if version is None:
            self._candidates.pop((name, alias), None)
            return
        try:
            model = self._opened.load((name, version))
            if model.held():
                self._candidates[name, alias] = model
        except BadBundle as error:
            self._candidates.pop((name, alias), None)
            self._opened.refuse((name, version), error)
        except TintypeError as error:
            log.debug("%s@%d is not ready: %s", name, version, error)

    def _leave(self, name: str) -> None:
        """Nothing of this model is in production."""
        for known in (self._current, self._trouble, self._wanted):
            known.pop(name, None)

    def _remember(self, name: str, version: int) -> None:
        try:
            served.remember(self.store.root / name, version)
        except OSError as error:  # a store that may only be read: then its writers remember
            log.debug("that %s@%d answers cannot be written down: %s", name, version, error)

    def _retire(self) -> None:
        models = [*self._current.values(), *self._candidates.values()]
        named: set[Key] = {(model.bundle.name, model.bundle.version) for model in models}
        named |= {(name, version) for name, version in self._wanted.items() if version}
        self._opened.retire(named)

    def _changed(self, name: str) -> tuple[int, int]:
        try:
            found = os.stat(f"{self._root}/{name}/{FILE}")  # noqa: PTH116 - hot path
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino  # two deploys may fall into one tick of the file system's clock

    def _version(self, reference: Reference) -> int:
        """The version of a reference; the store is asked again only when the model's aliases file has changed."""
        changed = self._changed(reference.name)
        known = self._resolved.get(reference)
        if known is None or known[0] != changed:
            known = self._resolved[reference] = changed, self.store.resolve(reference)
        return known[1]


def _is_plain(reference: Reference) -> bool:
    return reference.version is None and reference.alias in (None, PRODUCTION)
