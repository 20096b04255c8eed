"""What the routes share: the models that answer, whichever way their requests travel."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from artifacts.bundle import Bundle
from artifacts.settings import Settings
from artifacts.store import Store
from serving.board import Board
from serving.engine.live import LiveModels
from serving.lanes.answer import Answer
from serving.telemetry.exposition import SHARED, Snapshot, exposition
from serving.telemetry.exposition import State as Told
from serving.telemetry.requests import RequestMetrics
from serving.telemetry.stats import EngineStats

if TYPE_CHECKING:
    from serving.lanes.loop import LoopLane
    from serving.lanes.redis.loop import LoopRedisLane
    from serving.lanes.redis.mailbox import Mailbox


class Lane(Protocol):
    """The API's end of a lane."""

    def predict(self, pixels: NDArray[np.uint8], deadline: float, request_id: str) -> Answer:
        """The answer for pictures, uint8 (N, height, width, channels), before `deadline` (time.monotonic())."""

    @property
    def waiting(self) -> int:
        """Pictures that no engine has taken yet."""


class Model(Protocol):
    """One version that can be asked."""

    bundle: Bundle
    labels: list[str]
    shape: tuple[int, int, int]

    @property
    def lane(self) -> Lane:
        """Where its requests go."""

    @property
    def loop_lane(self) -> "LoopLane | LoopRedisLane | None":
        """The lane of the event loop, where it can be asked without holding up the loop."""

    @property
    def variant(self) -> str:
        """The one that answers."""

    def held(self) -> bool:
        """Whether whoever answers for it has it loaded.

        Raises:
            BadBundle: they cannot load it.
        """

    def close(self) -> None:
        """Answer what waits, then free the model."""


Models = LiveModels[Model]


class State:
    """One web process: its models, and where their requests go."""

    def __init__(self, settings: Settings, board: Board | None = None) -> None:
        self.draining = threading.Event()
        self.mailbox: Mailbox | None = None
        self._stats: EngineStats | None = None
        store = Store(settings.models)
        if settings.redis_url:
            self.models: Models = LiveModels(store, self._in_workers(settings))
        else:
            self.models = LiveModels(store, self._here(settings, board or Board(1)))

    def text(self, requests: RequestMetrics) -> str:
        """What this process says of itself to Prometheus."""
        if self.mailbox:
            state = Told((), self.mailbox.waiting, SHARED)
        else:
            models = self.models.opened()
            waiting = sum(each.lane.waiting + (each.loop_lane.waiting if each.loop_lane else 0) for each in models)
            state = Told([model.bundle.identity(model.variant) for model in models], waiting, workers=1)
        return exposition(requests, self._stats, state)

    def workers(self) -> dict[str, Snapshot]:
        """What the workers say of themselves to Prometheus, by name."""
        said = self.mailbox.said if self.mailbox else {}
        return {name: Snapshot(each["metrics"], worker=name) for name, each in said.items() if "metrics" in each}

    def _here(self, settings: Settings, board: Board) -> Callable[[Bundle], Model]:
        from serving.engine import variants
        from serving.engine.local import LocalModel

        variants.check(settings)
        stats = self._stats = EngineStats()
        return lambda bundle: LocalModel(bundle, settings, stats, board)

    def _in_workers(self, settings: Settings) -> Callable[[Bundle], Model]:
        from serving.engine.remote import RemoteModel
        from serving.lanes.redis import link
        from serving.lanes.redis.mailbox import Mailbox

        mailbox = self.mailbox = Mailbox(link.connect(settings.redis_url), settings.queue_depth)
        return lambda bundle: RemoteModel(bundle, mailbox)
