"""Folder jobs without a server: a store of jobs, a stand-in for the models, pictures of one tone."""

from concurrent.futures import Future
from contextlib import suppress

import numpy as np
import psutil

from serving.jobs.chunk import decode
from serving.jobs.job import Plan
from serving.jobs.pipeline import Hands

MODEL = {"name": "tones", "version": 7, "sha256": "0" * 64}
PLAN = Plan("fp32", batch=4, files=8, bytes=10**6, bunch=8)


class OneModel:
    """One model for every job."""

    def __init__(self, classifier):
        self.classifier = classifier

    def plan(self, _):
        return PLAN

    def open(self, *_):
        return self.classifier


class Here:
    """Decoders that are this process itself: they need no start."""

    processes = 1

    def begin(self, *_):
        return Future()

    def finish(self, _, bunch, reading):
        seen = {}
        return [decode(batch, reading, seen) for batch in bunch]

    def close(self):
        pass


def hands(decoders=None, give_way=lambda: None):
    return Hands(decoders or Here(), threads=2, give_way=give_way)


class Kept:
    """A queue that keeps its hints."""

    def __init__(self):
        self.hints = []

    def send(self, hint):
        self.hints.append(hint)

    def waiting(self):
        return len(self.hints)

    def take(self):
        return self.hints.pop(0)


def write_pictures(folder, count, encode):
    """`count` files, of which every seventh is no picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        data = encode(np.full((6, 6, 3), number * 5 % 256, np.uint8)) if number % 7 else b"no picture"
        (folder / f"{number:04d}.png").write_bytes(data)
    return folder


def kill_decoders(worker):
    """Kill the processes that decode for a worker, by its number."""
    for child in psutil.Process(worker).children():
        with suppress(psutil.NoSuchProcess):  # it was just replaced
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
