"""One rollout in one process: who gets the version, and the pictures about which both are asked."""

import hashlib
import logging
import random
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from artifacts import pixels
from artifacts.aliases import SHADOW
from artifacts.errors import BadPicture, TintypeError
from artifacts.rollouts import Rollout
from serving.errors import DeadlineExceeded, EngineFailed, QueueFull
from serving.rollouts.tally import Counted, bucket

if TYPE_CHECKING:
    from serving.api.state import Model

PLACES = 8  # requests of a process that a canary answers at a time: were it slow, those that wait would be late
WAITING = 64  # pictures that wait to be compared; more are left out
BUSY_SHARE = 0.1  # of the time that comparing may take: production has the rest
PATIENCE = 5.0  # seconds, at most, that a comparison waits for either answer
CROWDED = 0.25  # of the queue of requests: when so much of it waits, nothing is compared
PAUSE = 0.05  # seconds between two looks whether something is to be compared

log = logging.getLogger(__name__)


class Work:
    """A rollout that runs. `candidate` is None until it can answer."""

    def __init__(self, rollout: Rollout, folder: Path, max_pixels: int, depth: int) -> None:
        self.rollout = rollout
        self.shadow = rollout.order.kind == SHADOW
        self.candidate: Model | None = None
        self.production: Model | None = None
        self.counted = Counted(folder)
        self.places = threading.BoundedSemaphore(PLACES)
        self._max_pixels, self._most_waiting = max_pixels, CROWDED * depth
        self._pictures: deque[bytes] = deque(maxlen=WAITING)
        self._over = threading.Event()
        self._turn = False
        threading.Thread(target=self._compare, name=f"rollout-{rollout.id}", daemon=True).start()

    def takes(self, key: str) -> bool:
        """Whether a request is in the share: always the same for a key, by chance without one."""
        if not key:
            return random.random() < self.rollout.order.share  # noqa: S311 - no secret
        digest = hashlib.blake2b(f"{self.rollout.id}\0{key}".encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.rollout.order.share * 2**64

    def offer(self, data: bytes) -> None:
        """An encoded picture to ask both about; of too many the oldest are left out."""
        self._pictures.append(data)

    def close(self) -> None:
        """Compare no more."""
        self._over.set()

    def _compare(self) -> None:
        """Both are asked about one picture after the other, the one or the other first by turns."""
        while not self._over.wait(PAUSE):
            while self._pictures and not self._over.is_set():
                began = time.monotonic()
                try:
                    self._compare_one(self._pictures.pop())
                except Exception:
                    log.exception("a defect: a picture could not be compared")
                self._over.wait((time.monotonic() - began) * (1 / BUSY_SHARE - 1))

    def _compare_one(self, data: bytes) -> None:
        candidate, production = self.candidate, self.production
        if candidate is None or production is None or production.lane.waiting > self._most_waiting:
            return
        self._turn = not self._turn
        given: dict[bool, str | None] = {}  # whether it is the candidate: its label, None where it failed
        times: dict[bool, float] = {}
        for is_candidate in (self._turn, not self._turn):
            began = time.monotonic()
            try:
                given[is_candidate] = self._label(candidate if is_candidate else production, data)
            except (BadPicture, QueueFull):
                return  # nobody's fault
            except TintypeError as error:
                given[is_candidate] = None
                if is_candidate and isinstance(error, EngineFailed | DeadlineExceeded):
                    log.debug("%s failed on a picture: %s", self.rollout.id, error)
            times[is_candidate] = time.monotonic() - began
        self._count(given[False], given[True], times)

    def _count(self, of_production: str | None, of_candidate: str | None, times: dict[bool, float]) -> None:
        tally = self.counted.tally
        if of_production is None:  # no worker, no Redis: it says nothing about the candidate
            return
        if of_candidate is None:
            tally.errors += 1
            return
        tally.compare(of_production, of_candidate)
        tally.production[bucket(times[False])] += 1
        tally.candidate[bucket(times[True])] += 1

    def _label(self, model: "Model", data: bytes) -> str:
        decoded = pixels.decode(data, *model.shape, self._max_pixels).pixels[np.newaxis]
        answer = model.lane.predict(decoded, time.monotonic() + PATIENCE, f"rollout-{self.rollout.id}")
        return model.labels[int(answer.probabilities[0].argmax())]
