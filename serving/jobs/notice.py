"""What is told of a job's end to the address that its order names, and how far that is.

    jobs/<id>/webhook/current      the id of the message: made once for each end, gone when the job goes on
    jobs/<id>/webhook/<id>.json    its body, and what came of the attempts to deliver it

An attempt is counted before it is made. So whoever sends may be killed: the same message is sent again, with its id.
"""

import json
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from artifacts import files

FOLDER, CURRENT = "webhook", "current"
ATTEMPTS = 20  # some three days
FIRST_WAIT, LONGEST_WAIT = 1.0, 6 * 3600.0  # seconds between two attempts: four times as long after each


class State(StrEnum):
    """How far a message is."""

    WAITING = "waiting"  # for its first attempt, or the next one
    DELIVERED = "delivered"  # it was accepted
    GIVEN_UP = "given_up"  # nobody took it, or its receiver wants no more (410)


@dataclass(frozen=True)
class Notice:
    """A message, and what came of it so far."""

    id: str
    state: State = State.WAITING
    attempts: int = 0
    due: float = 0.0  # time.time() from which on the next attempt may be made
    answer: str = ""  # of the last attempt
    body: str = ""  # the same in every attempt

    def told(self) -> dict[str, Any]:
        """As a job's status tells it."""
        return {"state": self.state, "attempts": self.attempts, "answer": self.answer or None}

    def attempted(self) -> "Notice":
        """With an attempt more, which is about to be made."""
        wait = min(FIRST_WAIT * 4.0**self.attempts, LONGEST_WAIT)
        return replace(self, attempts=self.attempts + 1, due=time.time() + wait)

    def answered(self, answer: str, *, accepted: bool, final: bool) -> "Notice":
        """With what came of the attempt. `final`: there is to be no other."""
        if accepted:
            return replace(self, state=State.DELIVERED, answer=answer)
        over = final or self.attempts >= ATTEMPTS
        return replace(self, state=State.GIVEN_UP if over else State.WAITING, answer=answer)


def prepare(job: Path) -> Notice:
    """The message of a job that is over; of several who prepare one, all get the first one's."""
    (job / FOLDER).mkdir(exist_ok=True)
    files.write_new(job / FOLDER / CURRENT, f"msg_{secrets.token_hex(16)}")
    return find(job) or prepare(job)


def find(job: Path) -> Notice | None:
    """The message of the job's end; None before there is one."""
    try:
        name = (job / FOLDER / CURRENT).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    with suppress(FileNotFoundError):
        record = json.loads((job / FOLDER / f"{name}.json").read_bytes())
        return Notice(**{**record, "state": State(record["state"])})
    return Notice(name)


def keep(job: Path, notice: Notice) -> None:
    """Write down how far a message is."""
    files.write_json(job / FOLDER / f"{notice.id}.json", asdict(notice))


def forget(job: Path) -> None:
    """The job goes on: its next end is another message."""
    (job / FOLDER / CURRENT).unlink(missing_ok=True)


def is_settled(job: Path) -> bool:
    """Whether there is nothing more to be sent."""
    notice = find(job)
    return notice is not None and notice.state != State.WAITING


def is_due(job: Path) -> bool:
    """Whether an attempt may be made now."""
    notice = find(job)
    return notice is None or (notice.state == State.WAITING and notice.due <= time.time())
