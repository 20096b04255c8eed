"""The rollouts of a server, as one of its web processes takes part in them.

    request -> [in the share?] -> the canary -> answer                      compared later, off the request's way
                     │                └─ it fails ─▶ production answers
                     └─ no ─▶ production -> answer

Twice a second each process writes down what it has counted, reads what all have, and may decide; who decides first has
decided for all.
"""

import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from artifacts import rollouts
from artifacts.aliases import PRODUCTION
from artifacts.audit import Note
from artifacts.errors import BadBundle
from artifacts.rollouts import FOLDER, Outcome, Rollout, Status
from artifacts.settings import Settings
from serving.engine.live import LiveModels
from serving.rollouts.gates import Verdict, verdict
from serving.rollouts.tally import summed
from serving.rollouts.work import Work

LOOK_SECONDS = 0.5

log = logging.getLogger(__name__)


class Traffic:
    """Which rollouts run now. `at_work` is empty nearly always, and asked at every request."""

    def __init__(self, models: LiveModels[Any], settings: Settings) -> None:
        self.at_work: dict[str, Work] = {}  # by the model's name; replaced as a whole
        self._models = models
        self._store = models.store
        self._settings = settings
        self._closed = threading.Event()

    def start(self) -> None:
        """Take part from now on; to be called after the last fork."""
        threading.Thread(target=self._watch, name="rollouts", daemon=True).start()

    def close(self) -> None:
        """Take part no longer."""
        self._closed.set()

    def canary(self, name: str, key: str) -> Work | None:
        """The rollout whose version is to answer a request that names no version, if one is; it has a place taken.

        Whoever gets it gives the place back. When all are taken, as by a version that is slow, production answers.
        """
        work = self.at_work.get(name)
        if not work or work.shadow or not work.candidate or not work.takes(key):
            return None
        return work if work.places.acquire(blocking=False) else None

    def copy(self, name: str, key: str, data: bytes) -> None:
        """Have a shadow asked about a picture, if one is there and the picture is in its share."""
        work = self.at_work.get(name)
        if work and work.shadow and work.candidate and work.takes(key):
            work.offer(data)

    def look(self) -> None:
        """Take part in what runs now, and decide what is to be decided."""
        found = {}
        for name in self._store.names():
            home = self._store.root / name
            if (home / FOLDER).is_dir() and (rollout := rollouts.running(home)):
                known = self.at_work.get(name)
                same = known is not None and known.rollout.id == rollout.id
                found[name] = known if known and same else self._begun(rollout, home)
        for name, work in self.at_work.items():
            if found.get(name) is not work:
                work.close()
        self.at_work = found
        for work in found.values():
            self._tend(work)

    def _watch(self) -> None:
        trouble = ""
        while not self._closed.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:
                if repr(error) != trouble:  # said once, not twice a second
                    log.exception("a rollout cannot be looked after")
                trouble = repr(error)

    def _begun(self, rollout: Rollout, home: Path) -> Work:
        folder = home / FOLDER / rollout.id
        folder.mkdir(exist_ok=True)
        return Work(rollout, folder, self._settings.max_pixels, self._settings.queue_depth)

    def _tend(self, work: Work) -> None:
        name, order = work.rollout.name, work.rollout.order
        candidate = self._models.candidate(name, order.kind)
        if candidate and candidate.bundle.version != work.rollout.version:
            candidate = None
        work.candidate, work.production = candidate, self._models.serving(name)
        work.counted.tally.refused = self._models.reason(name, work.rollout.version)
        with suppress(FileNotFoundError):  # it was just decided elsewhere
            work.counted.publish()
        self._decide(work.rollout)

    def _decide(self, known: Rollout) -> None:
        home = self._store.root / known.name
        rollout = rollouts.running(home)
        if rollout is None or rollout.id != known.id:
            return
        tally = summed(home / FOLDER / rollout.id)
        found = self._moved(rollout) or verdict(rollout, tally, rollout.age())
        measured = tally.told()
        if rollout.decided and not (found and found.status == Status.STOPPED):  # by one who died over it
            found, measured = Verdict(rollout.decided, rollout.reason), rollout.measured
        if found is None:
            return
        note = Note(f"rollout {rollout.id}", found.reason)
        if rollouts.end(self._store, rollout, Outcome(*found, measured), note):
            log.warning("the rollout of %s@%d is over (%s): %s", rollout.name, rollout.version, *found)

    def _moved(self, rollout: Rollout) -> Verdict | None:
        """The end of a rollout whose ground a person has taken away."""
        try:
            aliases = self._store.aliases(rollout.name)
        except BadBundle:
            return None
        if aliases.get(PRODUCTION) not in (rollout.against, rollout.version if rollout.decided else rollout.against):
            now = aliases.get(PRODUCTION, "nothing")
            return Verdict(Status.STOPPED, f"production moved from {rollout.against} to {now} meanwhile")
        if not rollout.decided and aliases.get(rollout.order.kind) != rollout.version:
            return Verdict(Status.STOPPED, f"the alias {rollout.order.kind} was moved meanwhile")
        return None
