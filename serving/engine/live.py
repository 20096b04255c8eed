"""The versions that can answer now, by name and version, loaded when they are first needed."""

import logging
import os
import threading
import time
from contextlib import suppress

from artifacts import bundle as bundles
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle, TintypeError
from artifacts.settings import Settings
from artifacts.store import PREVIOUS, PRODUCTION, Reference, Store
from serving.engine.batching import Engine
from serving.engine.variants import open_best
from serving.lanes.memory import MemoryLane

SPARE = 4  # loaded versions that no alias names
ONLY_SECONDS = 1.0  # how long the only model in production is taken to be the only one

log = logging.getLogger(__name__)


class LiveModel:
    """One loaded version: its bundle, and the lane to its engine."""

    def __init__(self, bundle: Bundle, settings: Settings, threads: int) -> None:
        self.bundle = bundle
        self.labels = bundle.labels
        self.shape = bundle.shape
        # On a CPU, threads that each run a batch of their own beat threads that share one: no barriers in the graph.
        variant, best_batch, runtime = open_best(bundle, settings.variant, threads=1)
        self.identity = bundle.identity(variant)
        self.lane = MemoryLane(settings.queue_depth, best_batch)
        self._engine = Engine(runtime, self.lane, best_batch, threads)

    def close(self) -> None:
        """Answer what waits, then free the model."""
        self._engine.close()


class LiveModels:
    """Loaded versions of a store. An alias is read anew when its file changes, so a deploy takes effect by itself."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store(settings.models)
        self._settings = settings
        self._threads = max(1, len(os.sched_getaffinity(0)) // settings.api_processes)
        self._loaded: dict[tuple[str, int], LiveModel] = {}
        self._broken: dict[tuple[str, int], BadBundle] = {}
        self._resolved: dict[Reference, tuple[tuple[int, int], int]] = {}
        self._only = -ONLY_SECONDS, ""
        self._lock = threading.Lock()

    def ready(self) -> list[LiveModel]:
        """What answers for the models in production, loaded; one that cannot be leaves the others answering."""
        models = []
        for name in self.store.in_production():
            with suppress(TintypeError):  # logged where it was raised
                models.append(self.get(Reference(name)))
        return models

    def get(self, reference: Reference) -> LiveModel:
        """The model that a reference means, loaded.

        When the version in production cannot be loaded, the previous one goes on answering, also after a restart.

        Raises:
            UnknownModel: there is no such model, version or alias.
            BadBundle: it cannot be loaded.
        """
        name = reference.name
        key = name, self._version(reference)
        found = self._loaded.get(key)
        if found:
            return found
        try:
            return self._load(key)
        except BadBundle:
            previous = self.store.aliases(name).get(PREVIOUS)
            if reference.version or reference.alias not in (None, PRODUCTION) or previous is None:
                raise
            return self._loaded.get((name, previous)) or self._load((name, previous))

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
            found = os.stat(self.store.root / reference.name / "aliases.json")  # noqa: PTH116 - hot path
            changed = found.st_mtime_ns, found.st_ino  # two deploys may fall into one tick of the file system's clock
        except FileNotFoundError:
            changed = 0, 0
        known = self._resolved.get(reference)
        if known is None or known[0] != changed:
            known = self._resolved[reference] = changed, self.store.resolve(reference)
        return known[1]

    def _load(self, key: tuple[str, int]) -> LiveModel:
        with self._lock:
            if key in self._broken:
                raise BadBundle(str(self._broken[key]))  # a new one: each raise would lengthen its traceback
            if key not in self._loaded:
                try:
                    opened = bundles.verify(self.store.path(*key))
                    self._loaded[key] = LiveModel(opened, self._settings, self._threads)
                except BadBundle as error:
                    self._broken[key] = error
                    log.error("%s@%d cannot be served: %s", *key, error)  # noqa: TRY400 - its sentence is enough
                    raise
                self._retire()
            return self._loaded[key]

    def _retire(self) -> None:
        """Free versions that no alias names, but for the SPARE last ones: any client may ask for any version."""
        named = {(name, version) for name, _ in self._loaded for version in self.store.aliases(name).values()}
        spare = [key for key in self._loaded if key not in named]
        for key in spare[:-SPARE]:
            threading.Thread(target=self._loaded.pop(key).close, name=f"retire-{key}").start()
