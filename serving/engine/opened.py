"""Versions that are loaded: opened once, kept while they are wanted, then freed."""

import ctypes
import gc
import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Generic, NamedTuple, Protocol, TypeVar

from artifacts import bundle as bundles
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle
from artifacts.store import Store

SPARE = 4  # opened versions that no alias names
GRACE_SECONDS = 2.0  # since a version was last asked for: a request that has found it may not have reached its lane yet
IDLE_SECONDS = 60.0  # since a version that no alias names was last asked for, until it is freed
RETRY_SECONDS = 30.0  # between two attempts to open a damaged version: its files may have come late

log = logging.getLogger(__name__)

Key = tuple[str, int]  # name, version


class Live(Protocol):
    """Whatever a process makes of a verified bundle: a model in this process, or the way to one in the workers."""

    bundle: Bundle

    def held(self) -> bool:
        """Whether whoever answers for it has it loaded.

        Raises:
            BadBundle: they cannot load it.
        """

    def close(self) -> None:
        """Answer what waits, then free the model."""


Model = TypeVar("Model", bound=Live)


class _Refusal(NamedTuple):
    error: BadBundle
    moment: float  # time.monotonic()


class Opened(Generic[Model]):
    """The loaded versions of a store."""

    def __init__(self, store: Store, open_model: Callable[[Bundle], Model]) -> None:
        self._store = store
        self._open = open_model
        self._models: dict[Key, Model] = {}
        self._asked: dict[Key, float] = {}
        self._refused: dict[Key, _Refusal] = {}
        self._lock = threading.Lock()

    def all(self) -> list[Model]:
        """Those that are loaded now."""
        return list(self._models.values())

    def find(self, key: Key) -> Model | None:
        """One that is loaded already, and asked for now."""
        found = self._models.get(key)
        if found:
            self._asked[key] = time.monotonic()
        return found

    def load(self, key: Key) -> Model:
        """One that is loaded, or that is now; asked for in either case.

        Raises:
            BadBundle: it cannot be; said again, and not tried, for a while.
            NoRuntime, NoModel, …: whoever should answer for it cannot, for now.
        """
        with self._lock:
            if found := self.find(key):
                return found
            refusal = self._refused.get(key)
            if refusal and time.monotonic() - refusal.moment < RETRY_SECONDS:
                raise BadBundle(str(refusal.error))  # a new one: each raise would lengthen its traceback
            try:
                model = self._models[key] = self._open(bundles.verify(self._store.path(*key)))
            except BadBundle as error:
                self.refuse(key, error)
                raise
            self._refused.pop(key, None)
            self._asked[key] = time.monotonic()
            return model

    def refuse(self, key: Key, error: BadBundle) -> None:
        """Remember why a version cannot be served."""
        known = self._refused.get(key)
        if known is None or str(known.error) != str(error):
            log.error("%s@%d cannot be served: %s", *key, error)
        self._refused[key] = _Refusal(error, time.monotonic())

    def reason(self, key: Key) -> str:
        """Why a version cannot be served; empty when nothing is known against it."""
        refusal = self._refused.get(key)
        return str(refusal.error) if refusal else ""

    def reasons(self) -> dict[str, str]:
        """{"digits@3": why it cannot be served}."""
        return {f"{name}@{version}": str(each.error) for (name, version), each in list(self._refused.items())}

    def forgive(self, key: Key) -> None:
        """Forget what was against a version: it is to be tried again."""
        self._refused.pop(key, None)

    def retire(self, named: Collection[Key]) -> None:
        """Free what nobody wants any more: versions without an alias, long not asked for or more than SPARE of them."""
        now = time.monotonic()
        with self._lock:
            spare = [key for key in self._models if key not in named]
            spare.sort(key=lambda key: self._asked.get(key, 0.0))
            for place, key in enumerate(spare):
                idle = now - self._asked.get(key, 0.0)
                if idle > IDLE_SECONDS or (place < len(spare) - SPARE and idle > GRACE_SECONDS):
                    self._free(key)

    def _free(self, key: Key) -> None:
        model = [self._models.pop(key)]  # a list, so that the thread has the last reference to it
        self._asked.pop(key, None)

        def close() -> None:
            model.pop().close()
            gc.collect()
            with suppress(AttributeError):  # another C library than glibc
                ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed until it is told

        threading.Thread(target=close, name=f"retire-{key[0]}@{key[1]}", daemon=True).start()
