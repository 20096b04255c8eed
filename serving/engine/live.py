"""The versions that can answer now, by name and version, loaded when they are first needed."""

import logging
import os
import threading
import time

from artifacts import bundle as bundles
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle, TintypeError
from artifacts.settings import Settings
from artifacts.store import PRODUCTION, Reference, Store
from serving.engine.batching import Engine
from serving.engine.onnx import open_onnx
from serving.lanes.memory import MemoryLane

VARIANT = "fp32"
ONLY_SECONDS = 1.0  # how long the only model in production is taken to be the only one

log = logging.getLogger(__name__)


class LiveModel:
    """One loaded version: its bundle, and the lane to its engine."""

    def __init__(self, bundle: Bundle, settings: Settings, threads: int) -> None:
        self.bundle = bundle
        self.labels = bundle.labels
        self.shape = bundle.shape
        self.identity = bundle.identity(VARIANT)
        best_batch = bundle.best_batch(VARIANT)
        # On a CPU, threads that each run a batch of their own beat threads that share one: no barriers in the graph.
        runtime = open_onnx(bundle, VARIANT, threads=1)
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

    def load_production(self) -> None:
        """Load what is in production; a version that cannot be loaded is logged and leaves the others answering."""
        for name in self.store.names():
            try:
                if PRODUCTION in self.store.aliases(name):
                    self.get(Reference(name))
            except TintypeError as error:
                log.error("%s cannot be served: %s", name, error)  # noqa: TRY400 - its sentence is enough

    def ready(self) -> list[LiveModel]:
        """What can answer now."""
        return list(self._loaded.values())

    def get(self, reference: Reference) -> LiveModel:
        """The model that a reference means, loaded.

        Raises:
            UnknownModel: there is no such model, version or alias.
            BadBundle: it cannot be loaded.
        """
        key = reference.name, self._version(reference)
        found = self._loaded.get(key)
        return found or self._load(key)

    def only(self) -> str:
        """The model to take when a request names none.

        Raises:
            UnknownModel: none is in production, or more than one.
        """
        asked, name = self._only
        if time.monotonic() - asked > ONLY_SECONDS:
            name = self.store.only()
            self._only = time.monotonic(), name
        return name

    def close(self) -> None:
        """Answer what waits, then free all models."""
        for model in self._loaded.values():
            model.close()

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
                    raise
            return self._loaded[key]
