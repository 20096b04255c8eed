"""The versions that can answer now, by name and version, opened when they are first needed."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from artifacts import bundle as bundles
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle, TintypeError
from artifacts.store import PREVIOUS, PRODUCTION, Reference, Store
from serving.errors import NoRuntime

SPARE = 4  # opened versions that no alias names
ONLY_SECONDS = 1.0  # how long the only model in production is taken to be the only one

log = logging.getLogger(__name__)


class Closable(Protocol):
    """Whatever a process makes of a verified bundle: a model in this process, or the way to one in a worker."""

    def close(self) -> None:
        """Answer what waits, then free the model."""


Model = TypeVar("Model", bound=Closable)


class LiveModels(Generic[Model]):
    """Opened versions of a store. An alias is read anew when its file changes, so a deploy takes effect by itself."""

    def __init__(self, store: Store, open_model: Callable[[Bundle], Model]) -> None:
        self.store = store
        self._root = str(store.root)
        self._open = open_model
        self._opened: dict[tuple[str, int], Model] = {}
        self._broken: dict[tuple[str, int], BadBundle] = {}
        self._resolved: dict[Reference, tuple[tuple[int, int], int]] = {}
        self._only = -ONLY_SECONDS, ""
        self._lock = threading.Lock()

    def ready(self) -> list[Model]:
        """What answers for the models in production, opened; one that cannot be leaves the others answering.

        Raises:
            NoRuntime: the settings ask for a runtime or device that is not to be had here.
        """
        models = []
        for name in self.store.in_production():
            try:
                models.append(self.get(Reference(name)))
            except NoRuntime:
                raise
            except TintypeError as error:
                log.debug("%s is not ready: %s", name, error)  # said aloud where it was raised
        return models

    def opened(self) -> list[Model]:
        """Those that are open now."""
        return list(self._opened.values())

    def find(self, reference: Reference) -> Model | None:
        """The model that a reference means, if it is open already: nothing is loaded."""
        return self._opened.get((reference.name, self._version(reference)))

    def get(self, reference: Reference) -> Model:
        """The model that a reference means, opened.

        When the version in production cannot be opened, the previous one goes on answering, also after a restart.

        Raises:
            UnknownModel: there is no such model, version or alias.
            BadBundle: it cannot be opened.
        """
        name = reference.name
        key = name, self._version(reference)
        found = self._opened.get(key)
        if found:
            return found
        try:
            return self._load(key)
        except BadBundle:
            previous = self.store.aliases(name).get(PREVIOUS)
            if reference.version or reference.alias not in (None, PRODUCTION) or previous is None:
                raise
            return self._opened.get((name, previous)) or self._load((name, previous))

    def only(self) -> str:
        """The model to take when a request names none.

        Raises:
            UnknownModel: none is in production.
            ModelRequired: more than one is.
        """
        asked, name = self._only
        if time.monotonic() - asked > ONLY_SECONDS:
            name = self.store.only()
            self._only = time.monotonic(), name
        return name

    def _version(self, reference: Reference) -> int:
        """The version of a reference; the store is asked again only when the model's aliases file has changed."""
        try:
            found = os.stat(f"{self._root}/{reference.name}/aliases.json")  # noqa: PTH116 - hot path
            changed = found.st_mtime_ns, found.st_ino  # two deploys may fall into one tick of the file system's clock
        except FileNotFoundError:
            changed = 0, 0
        known = self._resolved.get(reference)
        if known is None or known[0] != changed:
            known = self._resolved[reference] = changed, self.store.resolve(reference)
        return known[1]

    def _load(self, key: tuple[str, int]) -> Model:
        with self._lock:
            if key in self._broken:
                raise BadBundle(str(self._broken[key]))  # a new one: each raise would lengthen its traceback
            if key not in self._opened:
                try:
                    self._opened[key] = self._open(bundles.verify(self.store.path(*key)))
                except BadBundle as error:
                    self._broken[key] = error
                    log.error("%s@%d cannot be served: %s", *key, error)  # noqa: TRY400 - its sentence is enough
                    raise
                self._retire()
            return self._opened[key]

    def _retire(self) -> None:
        """Free versions that no alias names, but for the SPARE last ones: any client may ask for any version."""
        named = {(name, version) for name, _ in self._opened for version in self.store.aliases(name).values()}
        spare = [key for key in self._opened if key not in named]
        for key in spare[:-SPARE]:
            threading.Thread(target=self._opened.pop(key).close, name=f"retire-{key}").start()
