"""Clients that count: every request has a picture and an id of its own, and every answer is compared."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from artifacts import pixels
from artifacts.bundle import verify
from artifacts.pictures import Pictures
from artifacts.settings import read
from serving.answers import TOP_K, answers
from serving.engine.variants import open_best

PATIENCE = 30  # seconds that a client waits for an answer: one that takes longer hangs
APART = 1e-3  # by so much the answers of any two pictures differ in some confidence
EQUAL = 1e-5  # by less the answer to one picture may, for it shares batches with others
LEFT_BEHIND = (ConnectionError, http.client.HTTPException, TimeoutError)


class Sample(NamedTuple):
    """A picture, and what the model answers, asked alone."""

    data: bytes
    prediction: dict


class Outcome(NamedTuple):
    """One request. `status` is 0 where no answer came; then `code` is the name of the exception."""

    number: int
    began: float  # time.monotonic()
    ended: float
    status: int
    code: str
    right: bool  # the answer is that of this picture, under this request's id
    port: int  # of the client's end of the connection

    @property
    def seconds(self):
        return self.ended - self.began


def samples(version, count, seed=0):
    """`count` pictures for the version at a path, no two of which have the same answer."""
    bundle = verify(version)
    runtime = open_best(bundle, read({}), threads=1).runtime
    random = np.random.default_rng(seed)
    golden = Pictures.load(bundle.golden_file).decode(*bundle.shape)
    found, rows = [], np.empty((0, len(bundle.labels)))
    while len(found) < count:
        pair = golden[random.choice(len(golden), 2)]
        share = random.uniform()
        picture = (share * pair[0] + (1 - share) * pair[1]).astype(np.uint8)
        probabilities = runtime.run(picture[np.newaxis])
        if not len(rows) or np.abs(rows - probabilities).max(axis=1).min() > APART:
            rows = np.concatenate([rows, probabilities])
            found.append(Sample(pixels.encode_png(picture), answers(probabilities, bundle.labels, TOP_K)[0]))
    return found


class Load:
    """Clients that ask, each over a connection that it keeps, until the block ends.

    Args:
        choose: gives the port to ask now.
        known: the samples.
        clients: threads.
        pause: seconds between an answer and a client's next request.
    """

    def __init__(self, choose, known, clients=8, pause=0.02):
        self.outcomes = []
        self._choose = choose
        self._known = known
        self._pause = pause
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"client-{n}", daemon=True) for n in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        """Return when every request has ended; fail when one hangs."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE + 10)
        assert not [thread.name for thread in self._threads if thread.is_alive()], "clients hang"
        self.outcomes.sort()
        assert [each.number for each in self.outcomes] == list(range(len(self.outcomes)))

    def since(self, moment):
        """Answers of requests that began after `moment`, so far."""
        return [each for each in list(self.outcomes) if each.began > moment]

    def until_answered(self, moment, seconds):
        """Seconds from `moment` until a request that began later has its answer."""
        while not (good := [each.ended for each in self.since(moment) if each.status == 200]):
            assert time.monotonic() - moment < seconds, f"no answer within {seconds} s: {self.statuses(moment)}"
            time.sleep(0.005)
        return min(good) - moment

    def statuses(self, moment=0.0):
        """How many requests ended how."""
        return Counter((each.status, each.code) for each in self.since(moment))

    def wrong(self):
        """Requests that were answered with what is not their answer."""
        return [each for each in self.outcomes if each.status == 200 and not each.right]

    def _work(self):
        connection = None
        while not self._over.is_set():
            port = self._choose()
            if connection is None or connection.port != port:
                connection = _connect(connection, port)
            outcome = self._ask(connection)
            if not outcome.status:
                connection = _connect(connection, port)
            self.outcomes.append(outcome)
            time.sleep(self._pause)
        connection.close()

    def _ask(self, connection):
        number = next(self._numbers)
        sample = self._known[number % len(self._known)]
        began = time.monotonic()
        status, code, right, port = 0, "", False, _own_port(connection)
        try:
            connection.request("POST", "/predict", sample.data, _headers(number))
            port = _own_port(connection)
            response = connection.getresponse()
            answer = _read(response)
        except LEFT_BEHIND as error:
            code = type(error).__name__
        else:
            status, code = response.status, answer.get("code", "")
            right = response.headers["X-Request-Id"] == str(number) and _same(answer, sample)
        return Outcome(number, began, time.monotonic(), status, code, right, port)


def _own_port(connection):
    return connection.sock.getsockname()[1] if connection.sock else 0


def _read(response):
    body = response.read()
    try:
        return json.loads(body)
    except ValueError:
        return {"code": f"no JSON: {body[:80]}"}


def _headers(number):
    return {"Content-Type": "image/png", "X-Request-Id": str(number)}


def _connect(old, port):
    if old:
        old.close()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with suppress(OSError):  # the request will fail of it
        connection.connect()
    return connection


def _same(answer, sample):
    (prediction,) = answer.get("predictions", [{}])
    found, wanted = ({each["label"]: each["confidence"] for each in p.get("top", ())} for p in (prediction, sample[1]))
    shared = found.keys() & wanted.keys()  # the last of the labels may change places with one that is not among them
    return len(shared) >= len(wanted) - 1 and all(abs(found[label] - wanted[label]) < EQUAL for label in shared)
