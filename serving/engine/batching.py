"""Batching without a timer: while one batch runs, the next gathers.

What waits is run, up to the best batch; nobody sleeps in the hope of more, unless a delay is set.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import TintypeError
from serving.engine.turns import Turns
from serving.errors import DeadlineExceeded, EngineFailed
from serving.lanes.answer import Answer
from serving.telemetry.batch_log import Batch, BatchLog
from serving.telemetry.stats import EngineStats

log = logging.getLogger(__name__)


class Request(Protocol):
    """What an engine sees of a request, whichever lane it came through."""

    pixels: NDArray[np.uint8]  # (N, height, width, channels)
    deadline: float  # time.monotonic() after which nobody waits any more
    entered: float  # time.monotonic() at the lane's door
    request_id: str


class Ready(NamedTuple):
    """A loaded variant that an engine can run."""

    name: str  # name@version
    variant: str
    best_batch: int
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    batch_seconds: float = 0.0  # what a batch of the best size takes
    device: str = "cpu"
    run_alone: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None  # on all cores, for who is the only one


class Models(Protocol):
    """The models among which requests choose."""

    def limit(self) -> int:
        """Pictures that are worth taking at a time."""

    def of(self, request: Any) -> Ready:  # noqa: ANN401 - each lane has requests of its own
        """The model that a request asks for, or a TintypeError for the one who asked."""


class Only(NamedTuple):
    """One model, whatever is asked for."""

    ready: Ready

    def limit(self) -> int:
        """Its best batch."""
        return self.ready.best_batch

    def of(self, request: Any) -> Ready:  # noqa: ANN401, ARG002 - as above
        """The one."""
        return self.ready


class Runner:
    """Runs what was taken from a lane. Called from several threads at once."""

    def __init__(
        self, models: Models, stats: EngineStats, log: BatchLog | None = None, turns: Turns | None = None
    ) -> None:
        self._turns = turns  # where folder work wants the model, too
        self._models = models
        self._stats = stats
        self._log = log

    @property
    def limit(self) -> int:
        """Pictures that are worth taking at a time."""
        return self._models.limit()

    def run(self, taken: Sequence[Request], *, alone: bool = False) -> Iterator[list[tuple[Any, Answer | Exception]]]:
        """Each request with its answer, or with what went wrong, a batch at a time.

        Args:
            taken: from a lane.
            alone: nobody else waits for the model, so that it may have all cores.
        """
        with self._turns.online() if self._turns else nullcontext():
            now = time.monotonic()
            groups: dict[tuple[str, str], tuple[Ready, list[Request]]] = {}
            for request in taken:
                if now > request.deadline:  # work that no one will see would only delay the others
                    self._stats.expired += 1
                    yield [(request, DeadlineExceeded("no answer within the deadline"))]
                    continue
                try:
                    model = self._models.of(request)
                except TintypeError as error:
                    yield [(request, error)]
                    continue
                groups.setdefault(model[:2], (model, []))[1].append(request)
            for model, group in groups.values():
                for batch in _cut(group, model.best_batch):
                    yield list(zip(batch, self._answers(model, batch, alone=alone), strict=True))

    def _answers(self, model: Ready, batch: list[Request], *, alone: bool) -> Sequence[Answer | Exception]:
        began = time.monotonic()
        try:
            pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([each.pixels for each in batch])
            run = model.run_alone if alone and model.run_alone else model.run
            probabilities = run(pixels)
        except TintypeError as error:
            log.exception("%s failed on a batch of %d requests", model.name, len(batch))
            return [type(error)(str(error)) for _ in batch]  # one each: every raise lengthens its traceback
        except Exception:
            log.exception("%s failed on a batch of %d requests", model.name, len(batch))
            return [EngineFailed("the model failed on this picture; the log says why") for _ in batch]
        seconds = time.monotonic() - began
        self._stats.batch(len(pixels), seconds)
        if self._log:
            ids = [request.request_id for request in batch]
            self._log.add(Batch(time.time(), model.name, model.variant, len(pixels), seconds, ids))
        return list(_split(model, batch, probabilities, began, seconds))


def _cut(group: list[Request], best: int) -> Iterator[list[Request]]:
    """The requests in batches; the one that reaches the best size is the last of its batch."""
    batch: list[Request] = []
    for request in group:
        batch.append(request)
        if sum(len(each.pixels) for each in batch) >= best:
            yield batch
            batch = []
    if batch:
        yield batch


def _split(
    model: Ready, batch: list[Request], probabilities: NDArray[np.float32], began: float, seconds: float
) -> Iterator[Answer]:
    start = 0
    for request in batch:
        end = start + len(request.pixels)
        wait = began - request.entered
        yield Answer(probabilities[start:end], model.variant, wait, seconds, len(probabilities))
        start = end
