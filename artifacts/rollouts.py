"""A rollout: a version has a share of the requests for a while, then goes into production or is taken back.

    models/digits/rollouts/20261122T001403120.json    what was asked for and, at the end, what came of it and why
    models/digits/rollouts/20261122T001403120/        what each process counts meanwhile

Meanwhile the alias `canary` (it answers its share) or `shadow` (its answers are only compared) names the version. The
end is decided under the model's lock, so by one process: the decision is written down, then the aliases move, then the
rollout is over. Whoever comes after a kill between two of these steps takes the steps that are left.
"""

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import audit, files
from artifacts.aliases import CANARY, PRODUCTION, SHADOW
from artifacts.audit import Change, Note
from artifacts.errors import Busy, UnknownModel, WrongUse
from artifacts.store import Reference, Store, point

FOLDER = "rollouts"


class Status(StrEnum):
    """How a rollout stands."""

    RUNNING = "running"
    PROMOTED = "promoted"  # the version is in production
    TAKEN_BACK = "taken back"  # a gate refused it
    FINISHED = "finished"  # a shadow has been looked at for as long as was asked
    STOPPED = "stopped"  # by a person, or because production moved


_ACTIONS = {Status.PROMOTED: "promote", Status.TAKEN_BACK: "take back"}


@dataclass(frozen=True)
class Gates:
    """What a version must keep to."""

    errors: float = 0.01  # share of its requests that it may fail
    latency: float = 2.0  # its p95 may be so many times that of production
    disagreement: float = 0.1  # share of pictures to which it may give another label than production
    requests: int = 100  # that must have come before it can go into production


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    kind: str  # canary or shadow: also its alias
    share: float  # of the requests, above 0 and at most 1
    seconds: float
    gates: Gates = Gates()


class Outcome(NamedTuple):
    """How a rollout ends."""

    status: Status
    reason: str
    measured: dict[str, Any]


@dataclass(frozen=True)
class Rollout:
    """One, as its file has it."""

    id: str
    name: str
    version: int
    against: int  # what was in production when it began
    order: Order
    who: str
    why: str
    began: str  # ISO 8601
    status: Status = Status.RUNNING
    reason: str = ""
    ended: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    decided: Status | None = None  # it was decided, and perhaps not carried out

    def age(self) -> float:
        """Seconds since it began."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.began)).total_seconds()

    def told(self) -> dict[str, Any]:
        """As a report."""
        return {key: value for key, value in asdict(self).items() if key != "decided"}


def start(store: Store, reference: Reference, order: Order, note: Note, check: Any = None) -> Rollout:  # noqa: ANN401 - as deploy's
    """Give a version a share of the requests, or copies of them.

    Args:
        store: where the model is.
        reference: the version (the newest when it names none).
        order: what is asked for.
        note: who asks, and why.
        check: as in `Store.deploy`.

    Raises:
        WrongUse: it makes no sense.
        UnknownModel: there is no such version, or none is in production to compare it with.
        BadBundle: it is damaged.
        Busy: another rollout of this model runs.
    """
    _check(order)
    version = store.verified(reference, order.kind, check)
    name, home = reference.name, store.root / reference.name
    made: list[Rollout] = []
    with store.changing(name, Change(order.kind, order.kind, note), lambda: _write(home, made[0])) as aliases:
        if runs := running(home):
            raise Busy(f"{name}@{runs.version} is being rolled out; stop that first: tintype rollout {name} --stop")
        if PRODUCTION not in aliases:
            raise UnknownModel(f"no version of {name} is in production to go on meanwhile; run: tintype deploy {name}")
        if aliases[PRODUCTION] == version:
            raise WrongUse(f"{name}@{version} is in production already; roll out another version")
        began = audit.now()
        folder = home / FOLDER / began.translate({ord(each): None for each in "-:.Z"})
        folder.mkdir(parents=True)
        made.append(Rollout(folder.name, name, version, aliases[PRODUCTION], order, *note, began))
        aliases[order.kind] = version
    return made[0]


def running(home: Path) -> Rollout | None:
    """The one that runs, of the model in `home`."""
    newest = next(iter(history(home, 1)), None)
    return newest if newest and newest.status == Status.RUNNING else None


def history(home: Path, most: int) -> list[Rollout]:
    """The last rollouts, at most `most`, the newest first; of one whose file is damaged nothing."""
    try:
        names = sorted((path.name for path in (home / FOLDER).glob("[0-9]*.json")), reverse=True)
    except OSError:
        return []
    found = (_read(home / FOLDER / name) for name in names[:most])
    return [rollout for rollout in found if rollout]


def end(store: Store, rollout: Rollout, outcome: Outcome, note: Note) -> bool:
    """End one that runs; False when it is over already, or when production moved and it cannot be promoted."""
    home, alias = store.root / rollout.name, rollout.order.kind
    status, reason, measured = outcome
    change = Change(_ACTIONS.get(status, "stop"), PRODUCTION if status == Status.PROMOTED else alias, note)
    decided = replace(rollout, decided=status, reason=reason, measured=measured)

    def close() -> None:
        _write(home, replace(decided, status=status, ended=audit.now()))

    try:
        with store.changing(rollout.name, change, close) as aliases:
            _check_open(_read(home / FOLDER / f"{rollout.id}.json"), status, aliases)
            _write(home, decided)
            if aliases.get(alias) == rollout.version:
                del aliases[alias]
            if status == Status.PROMOTED:
                point(aliases, PRODUCTION, rollout.version)
    except _OverError:
        return False
    shutil.rmtree(home / FOLDER / rollout.id, ignore_errors=True)
    return True


class _OverError(Exception):
    """There is nothing left to decide."""


def _check_open(now: Rollout | None, status: Status, aliases: dict[str, int]) -> None:
    """Raise unless a rollout runs and can end so."""
    if now is None or now.status != Status.RUNNING:
        raise _OverError
    if status == Status.PROMOTED and aliases.get(PRODUCTION) not in (now.against, now.version):
        raise _OverError  # production moved meanwhile: whoever looks next says so


def _check(order: Order) -> None:
    gates = order.gates
    for good, must in (
        (order.kind in (CANARY, SHADOW), f"a rollout is {CANARY} or {SHADOW}; received {order.kind!r}"),
        (0 < order.share <= 1, f"the share must be above 0 % and at most 100 %; received {order.share:.4%}"),
        (0 < order.seconds <= 30 * 86400, f"a rollout lasts up to 30 days; received {order.seconds:g} seconds"),
        (0 <= gates.errors <= 1, f"the share of errors must be from 0 % to 100 %; received {gates.errors:.4%}"),
        (0 <= gates.disagreement <= 1, f"disagreement must be from 0 % to 100 %; received {gates.disagreement:.4%}"),
        (gates.latency >= 1, f"the p95 may be 1 or more times that of production; received {gates.latency:g}"),
        (gates.requests >= 0, f"the least number of requests must not be negative; received {gates.requests}"),
    ):
        if not good:
            raise WrongUse(must)


def _write(home: Path, rollout: Rollout) -> None:
    files.write_json(home / FOLDER / f"{rollout.id}.json", asdict(rollout))


def _read(path: Path) -> Rollout | None:
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        found = json.loads(path.read_bytes())
        order = found.pop("order")
        gates = Gates(**order.pop("gates"))
        status, decided = Status(found.pop("status")), found.pop("decided")
        found["order"] = Order(**order, gates=gates)
        return Rollout(**found, status=status, decided=Status(decided) if decided else None)
    return None
