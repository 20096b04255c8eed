"""Carrying a training out: a child process of its own, so that its memory and its GPU come back when it ends.

The child is `tintype retrain --resume ID`, of lower priority, and dies with the process that leads it. That one gives
the signs of life, kills the child when a person cancels, and counts: a training that ends again and again at the same
point without a word has failed.
"""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from artifacts import files
from artifacts.errors import TintypeError
from artifacts.run import Run
from artifacts.settings import Settings
from serving.children import environment
from serving.jobs.leases import Lease
from serving.trainings.progress import epochs_done
from serving.trainings.store import Trainings
from serving.trainings.training import MARKERS, OVER, WORK, Status, Training

TRIES = 5  # at the same point: an epoch, or a phase
LOOK_SECONDS = 0.5  # between two looks whether it is still wanted
PATIENCE_SECONDS = 10.0  # from SIGTERM to SIGKILL
RUN_LOG = "retrain.log"  # the log's place in the run
DEATHS = "deaths"  # name of the note in leases/
LAST_BYTES = 2_000  # of a log, that are looked at for the last line

log = logging.getLogger(__name__)


class Trainer:
    """Carries out one training at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trainings = Trainings(settings.trainings)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> None:
        """Begin with a training, if nothing is at work here; else somebody will say it again."""
        if self._closed.is_set() or (self._thread and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self.carry_out, args=(name,), name=f"train-{name}")
        self._thread.start()

    def carry_out(self, name: str) -> None:
        """Carry a training out, unless it is over or another has it; returns when it is over, or we are closed."""
        try:
            training = self._trainings.get(name)
            if training.status() in OVER:
                return
            lease = training.leases.claim(WORK, lambda: not _marked(training))
            if lease:
                with lease:
                    self._lead(training, lease)
                if training.status() in OVER:
                    training.leases.clear(WORK)
        except (TintypeError, OSError) as error:
            log.warning("%s cannot be carried out now: %s", name, error)
        except Exception:
            log.exception("%s could not be carried out: a defect", name)

    def close(self) -> None:
        """Stop what is at work; it goes on where it was when a trainer takes it again."""
        self._closed.set()
        if self._thread:
            self._thread.join()

    def _lead(self, training: Training, lease: Lease) -> None:
        run = Run(self._settings.runs / training.run)
        if not _may_try(training, run):
            return
        with training.log.open("ab") as said:
            said.write(f"--- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {socket.gethostname()}\n".encode())
            said.flush()
            code = self._child(training, lease, said)
        if self._closed.is_set():  # no death, but an order
            training.leases.note(DEATHS).unlink(missing_ok=True)
        elif code and training.status() not in OVER:
            log.error("%s ended with %d; it is tried again: %s", training.id, code, last_line(training.log))
        if run.path.is_dir():
            shutil.copyfile(training.log, run.path / RUN_LOG)

    def _child(self, training: Training, lease: Lease, said: BinaryIO) -> int:
        """Run the child until it ends, or until it is not wanted any more; how it ended."""
        us = [sys.executable, "-P", "-m", "tintype"]  # -P: not a tintype.py that lies where this process was started
        command = [*us, "retrain", "--resume", training.id, "--child-of", str(os.getpid())]
        log.info("%s is carried out", training.id)
        with subprocess.Popen(  # noqa: S603 - our own
            command, env=environment(self._settings), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        ) as child:
            while (code := child.poll()) is None:
                lease.progress(0)
                if lease.stopped.is_set() or self._closed.is_set():
                    return _ended(child)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(LOOK_SECONDS)
            return code


def last_line(path: Path) -> str:
    """The last words of a log."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LAST_BYTES))
        lines = file.read().decode("utf-8", "replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def _ended(child: "subprocess.Popen[bytes]") -> int:
    child.send_signal(signal.SIGTERM)
    try:
        return child.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _may_try(training: Training, run: Run) -> bool:
    """Count the attempts that began at this point; fail the training when they are too many."""
    note = training.leases.note(DEATHS)
    point = f"{training.phase()} {epochs_done(run)}"
    tries = 0
    with suppress(OSError, ValueError, KeyError):
        told = json.loads(note.read_bytes())
        tries = int(told["tries"]) if told["point"] == point else 0
    if tries >= TRIES:
        words = last_line(training.log) if training.log.exists() else "nothing"
        training.mark(Status.FAILED, f"it ended {tries} times at the same point; the last words of its log: {words}")
        return False
    files.write_json(note, {"point": point, "tries": tries + 1})
    return True


def _marked(training: Training) -> bool:
    return any((training.path / marker).exists() for marker in MARKERS)
