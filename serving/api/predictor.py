"""One request on its way: decode (refuse what is no picture) -> lane -> engine -> labels."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from artifacts import pixels
from artifacts.census import Look, brightness
from artifacts.errors import BadPicture, TintypeError
from artifacts.pixels import Picture
from artifacts.settings import Settings
from artifacts.store import Reference
from serving.answers import answers
from serving.api.query import Query
from serving.api.state import Model, Models
from serving.api.uploads import Upload
from serving.errors import QueueFull, TooLarge
from serving.lanes.answer import Answer
from serving.lanes.loop import Decode
from serving.records import Record
from serving.rollouts.traffic import Traffic
from serving.rollouts.work import Work

if TYPE_CHECKING:
    import asyncio

LOOP_PIXELS = 2_000_000  # some 20 ms of decoding
LOOK_SECONDS = 0.01  # between two requests whose pictures are counted: a census needs no more, and it takes time
MOST_LOOKS = 64  # of a request
CANARY_SHARE = 0.5  # of the time that a request may take; production has the rest, should the canary fail

Body = dict[str, Any]

log = logging.getLogger(__name__)


class Lane(Protocol):
    """The lane of an event loop."""

    def predict(self, decode: Decode, deadline: float, request_id: str) -> "asyncio.Future[Answer]":
        """The answer for one picture, before `deadline` (time.monotonic())."""


class Predictor:
    """Pictures in, labels out, by the models that are live."""

    def __init__(self, models: Models, settings: Settings, traffic: Traffic) -> None:
        self._models = models
        self._traffic = traffic
        self._deadline = settings.deadline_ms / 1000
        self._max_pixels = settings.max_pixels
        self._next_look = 0.0  # time.monotonic()

    def model(self, query: Query, record: Record) -> Model:
        """The model that is asked for.

        Raises:
            UnknownModel, ModelRequired, BadBundle
        """
        model = self._models.get(Reference(query.model or self._models.only(), query.version, query.alias))
        record.model, record.version = model.bundle.name, model.bundle.version
        return model

    def open_model(self, query: Query, record: Record) -> Model | None:
        """The model that is asked for, if it is open already.

        Raises:
            UnknownModel, ModelRequired
        """
        name = query.model or self._models.only()
        if query.version or query.alias:
            model = self._models.find(Reference(name, query.version, query.alias))
        else:
            model = self._models.serving(name)
        if model:
            record.model, record.version = model.bundle.name, model.bundle.version
        return model

    def ask(self, model: Model, lane: Lane, data: bytes, record: Record) -> "asyncio.Future[Answer]":
        """What the event loop's own lane will answer for one picture.

        Raises:
            QueueFull, NoModel, BadPicture: as the lane says. The future besides: BadPicture, DeadlineExceeded,
                EngineFailed. PictureTooLarge may mean more than LOOP_PIXELS: then ask `predict`, in a thread.
        """
        most = min(self._max_pixels, LOOP_PIXELS)
        now = time.monotonic()
        looked = self._looks(now)

        def decode() -> NDArray[np.uint8]:
            began = time.perf_counter()
            try:
                picture = pixels.decode(data, *model.shape, most)
                if looked:
                    record.looks = [_look(picture)]
                return picture.pixels[np.newaxis]
            except BadPicture:
                record.refused = 1
                raise
            finally:
                record.decode = time.perf_counter() - began

        record.pictures, record.refused = 1, 0
        return lane.predict(decode, now + self._deadline, record.request_id)

    def tell(self, model: Model, top_k: int, answer: Answer, record: Record) -> Body:
        """The answer for one picture, as a client is told it."""
        _, record.variant, record.wait, record.infer, record.batch = answer
        labels = answers(answer.probabilities, model.labels, top_k)
        if record.looks:
            record.looks = _answered(record.looks, labels)
        return self._body(model, [{"file": None, **labels[0]}], record)

    def answer(self, model: Model, query: Query, key: str, uploads: list[Upload], record: Record) -> Body:
        """The answer of the model, or of the version that has a share of its requests.

        Raises:
            BadPicture, TooLarge, QueueFull, NoModel, DeadlineExceeded, EngineFailed: as `predict`.
        """
        if self._traffic.at_work and query.plain:
            sticky = query.sticky or key
            if work := self._traffic.canary(model.bundle.name, sticky):
                return self.by_canary(work, model, query.top_k, uploads, record)
            for upload in uploads:
                self._traffic.copy(model.bundle.name, sticky, upload.data)
        return self.predict(model, query.top_k, uploads, record)

    def by_canary(self, work: Work, model: Model, top_k: int, uploads: list[Upload], record: Record) -> Body:
        """The answer of the version that is rolled out, whose place is given back; where it fails, that of the model.

        Raises:
            BadPicture, TooLarge, QueueFull, NoModel, DeadlineExceeded, EngineFailed: as `predict`.
        """
        try:
            return self._by_canary(work, model, top_k, uploads, record)
        finally:
            work.places.release()

    def _by_canary(self, work: Work, model: Model, top_k: int, uploads: list[Upload], record: Record) -> Body:
        candidate, began, tally = work.candidate, time.monotonic(), work.counted.tally
        if candidate is None:
            return self.predict(model, top_k, uploads, record)
        record.version = candidate.bundle.version
        try:
            body = self.predict(candidate, top_k, uploads, record, self._deadline * CANARY_SHARE)
        except (BadPicture, TooLarge):
            raise
        except Exception as error:  # whatever it does, a client must not suffer from it
            log.warning("the canary failed: %r", error, exc_info=not isinstance(error, TintypeError))
            record.version, record.variant = model.bundle.version, ""
            left = self._deadline - (time.monotonic() - began)
            body = self.predict(model, top_k, uploads, record, left)
            if not isinstance(error, QueueFull):  # production would have failed of whatever else is no fault of it
                tally.requests += 1
                tally.failed += 1
            return body
        tally.requests += 1
        for upload in uploads:
            work.offer(upload.data)
        return body

    def predict(
        self, model: Model, top_k: int, uploads: list[Upload], record: Record, seconds: float | None = None
    ) -> Body:
        """The answer: {"model", "predictions", "timings"}; within `seconds`, or as long as a request may take.

        Raises:
            BadPicture: there is only one picture, and it is none.
            QueueFull, NoModel, DeadlineExceeded, EngineFailed: as the lane says.
        """
        deadline = time.monotonic() + (self._deadline if seconds is None else seconds)
        batch, predictions = self._decode(uploads, model.shape, record)
        if batch is not None:
            answer = model.lane.predict(batch, deadline, record.request_id)
            _, record.variant, record.wait, record.infer, record.batch = answer
            labels = answers(answer.probabilities, model.labels, top_k)
            record.looks = _answered(record.looks, labels)
            _fill(predictions, labels)
        return self._body(model, predictions, record)

    def _body(self, model: Model, predictions: list[dict[str, Any]], record: Record) -> Body:
        identity = model.bundle.identity(record.variant or model.variant)
        return {"model": identity, "predictions": predictions, "timings": record.timings()}

    def _decode(
        self, uploads: list[Upload], shape: tuple[int, int, int], record: Record
    ) -> tuple[NDArray[np.uint8] | None, list[dict[str, Any]]]:
        """What could be decoded, uint8 (N, height, width, channels), and a place or an error for each upload."""
        began = time.perf_counter()
        record.pictures, record.refused = len(uploads), 0
        decoded: list[Picture] = []
        predictions: list[dict[str, Any]] = []
        for upload in uploads:
            prediction: dict[str, Any] = {"file": upload.name}
            predictions.append(prediction)
            try:
                decoded.append(pixels.decode(upload.data, *shape, self._max_pixels))
            except BadPicture as error:
                record.refused += 1
                if len(uploads) == 1:
                    raise
                prediction["error"] = {"code": error.code, "message": str(error)}
        record.decode = time.perf_counter() - began
        if not decoded:
            return None, predictions
        if self._looks(time.monotonic()):
            record.looks = [_look(picture) for picture in decoded[:MOST_LOOKS]]
        if len(decoded) == 1:
            return decoded[0].pixels[np.newaxis], predictions
        return np.stack([picture.pixels for picture in decoded]), predictions

    def _looks(self, now: float) -> bool:
        """Whether the pictures of a request are counted: of a busy server, those of some."""
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_SECONDS
        return True


def _look(picture: Picture) -> Look:
    """Without its answer yet."""
    return Look("", 0.0, brightness(picture.pixels), picture.width * picture.height)


def _answered(looks: Sequence[Look], labels: list[dict[str, Any]]) -> list[Look]:
    return [
        look._replace(label=answer["label"], confidence=answer["confidence"])
        for look, answer in zip(looks, labels, strict=False)  # at some pictures nobody has looked
    ]


def _fill(predictions: list[dict[str, Any]], labels: list[dict[str, Any]]) -> None:
    """Put the labels into the places that have no error."""
    places = [prediction for prediction in predictions if "error" not in prediction]
    for prediction, label in zip(places, labels, strict=True):
        prediction.update(label)
