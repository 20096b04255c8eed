"""The models that a worker holds, as the requests of the Redis lane ask for them."""

from typing import TYPE_CHECKING

from artifacts.bundle import Bundle
from artifacts.errors import UnknownModel
from artifacts.settings import Settings
from artifacts.store import Reference, Store
from serving.engine.batching import Ready
from serving.engine.live import LiveModels
from serving.engine.local import load
from serving.errors import NoModel

if TYPE_CHECKING:
    from serving.lanes.redis.puller import Request

LONE = 1  # pictures to take at a time while no model is loaded


class HostedModel:
    """One loaded version."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        self.bundle = bundle
        self.ready = load(bundle, settings)

    def held(self) -> bool:
        """It is loaded here."""
        return True

    def close(self) -> None:
        """Nothing waits here: the requests lie in Redis."""


class HostedModels:
    """All that are loaded, by the name, version and sha256 that a request names."""

    def __init__(self, settings: Settings) -> None:
        self.live = LiveModels(Store(settings.models), lambda bundle: HostedModel(bundle, settings))

    def limit(self) -> int:
        """The largest best batch of those that are loaded."""
        return max((model.ready.best_batch for model in self.live.opened()), default=LONE)

    def of(self, request: "Request") -> Ready:
        """The model that a request asks for.

        Raises:
            NoModel: this worker's store has not that version, or another one under its number.
            BadBundle: it cannot be loaded.
        """
        name, _, version = request.model.rpartition("@")
        try:
            model = self.live.get(Reference(name, int(version)))
        except UnknownModel as error:
            raise NoModel(f"the worker's store is not that of the web process: {error}") from None
        except OSError as error:
            raise NoModel(f"the worker cannot read its store ({error.strerror})") from None
        if model.bundle.sha256 != request.sha256:
            raise NoModel(f"the worker's {request.model} is another one than the web process has; give both one store")
        return model.ready

    def identities(self) -> list[dict[str, object]]:
        """Name, version, sha256 and variant of each that is loaded."""
        return [model.bundle.identity(model.ready.variant) for model in self.live.opened()]
