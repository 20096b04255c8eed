"""POST /predict: pictures in, labels out.

receive -> decode (refuse what is no picture) -> lane -> engine -> answer
"""

import difflib
import json
import re
import threading
import time
from typing import Any, NamedTuple

import numpy as np
from flask import Blueprint, Request, Response, request

from artifacts import pixels
from artifacts.errors import BadPicture
from artifacts.settings import Settings
from artifacts.store import Reference, check_name
from serving.answers import TOP_K, answers
from serving.engine.live import LiveModel, LiveModels
from serving.errors import BadRequest, NoPicture, QueueFull, TooLarge, WrongMediaType

PARAMETERS = ("model", "alias", "version", "top_k")
# Besides image/*: what a client sends that did not say what it sends (curl --data-binary names a form).
RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
FIELD = "image"
UPLOADS = 56  # bodies that a process receives at once: fewer than its threads, so that health is always answered


class Upload(NamedTuple):
    """One encoded picture of a request; `name` is None for a raw body."""

    name: str | None
    data: bytes


def blueprint(live: LiveModels, settings: Settings) -> Blueprint:
    """The one route, on the models that are live."""
    routes = Blueprint("predict", __name__)
    receiving = threading.BoundedSemaphore(UPLOADS)

    @routes.post("/predict")
    def predict() -> Response:
        deadline = time.monotonic() + settings.deadline_ms / 1000
        _check_parameters(request)
        top_k = _whole(request, "top_k") or TOP_K
        model = live.get(_reference(request, live))
        uploads = _receive(request, settings.max_pictures, receiving)
        predictions = _predict(model, uploads, top_k, deadline, settings.max_pixels)
        body = {"model": model.identity, "predictions": predictions}
        return Response(json.dumps(body), content_type="application/json")

    return routes


def _predict(
    model: LiveModel, uploads: list[Upload], top_k: int, deadline: float, max_pixels: int
) -> list[dict[str, Any]]:
    """A prediction or an error for each upload, in their order; the error is raised when there is only one upload."""
    predictions: list[dict[str, Any]] = []
    decoded, places = [], []
    for upload in uploads:
        try:
            decoded.append(pixels.decode(upload.data, *model.shape, max_pixels).pixels)
        except BadPicture as error:
            if len(uploads) == 1:
                raise
            predictions.append({"file": upload.name, "error": {"code": error.code, "message": str(error)}})
        else:
            places.append(len(predictions))
            predictions.append({"file": upload.name})
    if decoded:
        batch = decoded[0][None] if len(decoded) == 1 else np.stack(decoded)
        probabilities = model.lane.predict(batch, deadline)
        for place, answer in zip(places, answers(probabilities, model.labels, top_k), strict=True):
            predictions[place] |= answer
    return predictions


def _receive(incoming: Request, max_pictures: int, receiving: threading.BoundedSemaphore) -> list[Upload]:
    """The encoded pictures of a request, read while no more than UPLOADS others are: a slow client holds a thread.

    Raises:
        NoPicture, TooLarge, WrongMediaType, QueueFull
    """
    if not receiving.acquire(blocking=False):
        raise QueueFull(f"{UPLOADS} requests are still being received; try again soon")
    try:
        return _uploads(incoming, max_pictures)
    finally:
        receiving.release()


def _uploads(incoming: Request, max_pictures: int) -> list[Upload]:
    kind = incoming.mimetype
    if kind == "multipart/form-data":
        files = incoming.files.getlist(FIELD)
        if not files:
            came = ", ".join(
                [*(f"text {name!r}" for name in incoming.form), *(f"file {name!r}" for name in incoming.files)]
            )
            raise NoPicture(
                f"the form needs at least one file in a field named {FIELD!r}; received {came or 'no fields'}"
            )
        if len(files) > max_pictures:
            raise TooLarge(f"the request has {len(files)} pictures; at most {max_pictures} are taken at a time")
        return [Upload(file.filename or None, file.read()) for file in files]
    if kind.startswith("image/") or kind in RAW_TYPES:
        data = incoming.get_data(cache=False)
        if incoming.content_length is None:
            incoming.stream.read(1)  # a chunked body is cut off at the limit in silence; one byte more raises
        if not data:
            raise NoPicture("the body is empty; send the bytes of one picture, or a form with files named 'image'")
        return [Upload(None, data)]
    raise WrongMediaType(f"send image/* or multipart/form-data as Content-Type; received {kind!r}")


def _reference(incoming: Request, live: LiveModels) -> Reference:
    name = incoming.args.get("model")
    version, alias = _whole(incoming, "version"), incoming.args.get("alias")
    if version and alias:
        raise BadRequest(f"give a version or an alias, not both; received version={version} and alias={alias}")
    return Reference(check_name(name) if name else live.only(), version, alias)


def _check_parameters(incoming: Request) -> None:
    for name in incoming.args:
        if name not in PARAMETERS:
            near = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0)[0]
            raise BadRequest(f"there is no parameter {name!r}; did you mean {near!r}?")


def _whole(incoming: Request, name: str) -> int | None:
    text = incoming.args.get(name)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise BadRequest(f"{name} must be a whole number of at least 1; received {text[:40]!r}")
    return int(text)
