"""When a rollout ends, and how. A gate closes as soon as nothing that may still come could open it again."""

from typing import NamedTuple

from artifacts.aliases import SHADOW
from artifacts.rollouts import Rollout, Status
from serving.rollouts.tally import Tally, above, milliseconds, p95

SLACK_SECONDS = 0.005  # beside the factor: of a model that takes a millisecond, twice that is noise
SLOW_SHARE = 0.05  # above the p95
FEW = 5  # comparisons before which no p95 is believed


class Verdict(NamedTuple):
    """How a rollout ends."""

    status: Status
    reason: str


def verdict(rollout: Rollout, tally: Tally, age: float) -> Verdict | None:
    """How it ends now; None while it goes on.

    Args:
        rollout: what was asked for.
        tally: the sum of what all processes have counted.
        age: seconds since it began.
    """
    shadow = rollout.order.kind == SHADOW
    name = f"{rollout.name}@{rollout.version}"
    if tally.refused:
        return Verdict(Status.TAKEN_BACK, f"{name} cannot be loaded: {tally.refused}")
    reason = "" if shadow else _errors(rollout, tally) or _latency(rollout, tally) or _disagreement(rollout, tally)
    if reason:
        return Verdict(Status.TAKEN_BACK, f"{name} {reason}")
    if age < rollout.order.seconds:
        return None
    if shadow:
        return Verdict(Status.FINISHED, f"{name} was asked about {tally.compared} pictures besides production")
    wanted = rollout.order.gates.requests
    if tally.requests < wanted or tally.compared < wanted:
        found = f"answered {tally.requests} requests, and {tally.compared} pictures were compared"
        return Verdict(Status.TAKEN_BACK, f"{name} {found}; to judge it, {wanted} of each are needed")
    return Verdict(Status.PROMOTED, f"{name} {_praise(tally)}")


def _errors(rollout: Rollout, tally: Tally) -> str:
    gates, asked = rollout.order.gates, tally.requests + tally.compared + tally.errors
    failed = tally.failed + tally.errors
    if failed <= gates.errors * max(asked, gates.requests):
        return ""
    return f"failed {failed} of {asked} times; at most {gates.errors:.2%} are allowed"


def _latency(rollout: Rollout, tally: Tally) -> str:
    gates, usual = rollout.order.gates, p95(tally.production)
    if usual is None or tally.compared < FEW:
        return ""
    limit = gates.latency * usual + SLACK_SECONDS
    if above(tally.candidate, limit) <= SLOW_SHARE * max(tally.compared, gates.requests):
        return ""
    found = f"has a p95 of {milliseconds(p95(tally.candidate))} ms on {tally.compared} pictures"
    return f"{found}, production {milliseconds(usual)} ms; at most {milliseconds(limit)} ms are allowed"


def _disagreement(rollout: Rollout, tally: Tally) -> str:
    gates = rollout.order.gates
    if tally.disagreed <= gates.disagreement * max(tally.compared, gates.requests):
        return ""
    found = f"gave another label than production to {tally.disagreed} of {tally.compared} pictures"
    return f"{found}; at most {gates.disagreement:.2%} are allowed"


def _praise(tally: Tally) -> str:
    told = tally.told()
    same = tally.compared - tally.disagreed
    return (
        f"answered {tally.requests} requests, {tally.failed} of them not; it gave production's label to {same} of "
        f"{tally.compared} pictures, with a p95 of {told['p95_ms']} ms beside {told['production_p95_ms']} ms"
    )
