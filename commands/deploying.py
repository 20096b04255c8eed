"""deploy, rollback, rollout, audit, prune: which version answers."""

import argparse
import re
import time
from typing import Any

from artifacts import audit, rollouts
from artifacts.aliases import CANARY, PRODUCTION, SHADOW
from artifacts.errors import TintypeError, UnknownModel, WrongUse
from artifacts.held_out import REQUIREMENT
from artifacts.prune import LEAST, prune
from artifacts.settings import Settings
from artifacts.store import Reference, Store, parse
from commands import REQUIRE, Add
from printing import print_json, print_note, print_table

LINES = 20  # of the audit that are shown
WATCH_SECONDS = 1.0  # between two looks whether a rollout is over


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    deploy = add("deploy", _deploy, "point an alias at a version, by default the newest into production")
    deploy.add_argument("model", metavar="NAME[@VERSION]")
    deploy.add_argument("--alias", default=PRODUCTION, help=f"default: {PRODUCTION}")
    deploy.add_argument("--require", default=REQUIREMENT, metavar="EXPRESSION", help=REQUIRE)
    rollback = add("rollback", _rollback, "put the previous version back into production")
    rollback.add_argument("model", metavar="NAME")
    _add_rollouts(add, deploy)
    for command in (deploy, rollback):
        command.add_argument("--why", default="", metavar="TEXT", help="a reason, for the audit")
    shown = add("audit", _audit, "show who moved a model's aliases, when, from where to where, and why")
    shown.add_argument("model", metavar="NAME")
    shown.add_argument("--last", type=_whole, default=LINES, metavar="N", help=f"default: {LINES}")
    pruned = add("prune", _prune, "remove old versions that no alias names and no job works with")
    pruned.add_argument("model", metavar="NAME")
    keep = f"newest good versions that stay in any case (default and least: {LEAST})"
    pruned.add_argument("--keep", type=_whole, default=LEAST, metavar="N", help=keep)
    pruned.add_argument("--dry-run", action="store_true", help="show what would be removed, and remove nothing")


def _deploy(arguments: argparse.Namespace, settings: Settings) -> None:
    store, reference = Store(settings.models), parse(arguments.model)
    note = audit.here(arguments.why)
    from serving.comparison import requirement
    from serving.comparison.gate import Gate, measure_here

    required = requirement.parse(arguments.require)
    gate = Gate(
        store,
        required if arguments.alias == PRODUCTION and not arguments.shadow else requirement.parse(requirement.NONE),
        measure_here(settings),
    )
    if arguments.canary or arguments.shadow:
        _begin(arguments, store, rollouts.start(store, reference, _order(arguments), note, gate))
        return
    version = store.deploy(reference, arguments.alias, gate, note)
    if gate.told:
        print_note(gate.told["verdict"]["sentence"])
    _show_alias(arguments, store, reference.name, version, arguments.alias)


def _add_rollouts(add: Add, deploy: argparse.ArgumentParser) -> None:
    gates = rollouts.Gates()
    either = deploy.add_mutually_exclusive_group()
    text = "give it this share of the requests first, such as 10%%, and promote it or take it back by itself"
    either.add_argument("--canary", type=share, metavar="SHARE", help=text)
    text = "have it asked about copies of this share of the requests; it answers none, and stays out of production"
    either.add_argument("--shadow", type=share, metavar="SHARE", help=text)
    deploy.add_argument("--for", type=seconds, default=600.0, metavar="TIME", dest="seconds", help="default: 10m")
    for name, kind, default, text in (
        ("errors", share, gates.errors, "share of its requests that a canary may fail (default: 1%%)"),
        ("latency", float, gates.latency, "times production's p95 that its own may be (default: 2)"),
        ("disagreement", share, gates.disagreement, "share of pictures with another label (default: 10%%)"),
    ):
        deploy.add_argument(f"--max-{name}", type=kind, default=default, metavar="LIMIT", help=text)
    text = f"that have to come before it is promoted (default: {gates.requests})"
    deploy.add_argument("--min-requests", type=int, default=gates.requests, metavar="N", help=text)
    shown = add("rollout", _rollout, "show how the last canary or shadow of a model stands, or stop it")
    shown.add_argument("model", metavar="NAME")
    shown.add_argument("--stop", action="store_true", help="take the version back now")
    shown.add_argument("--watch", action="store_true", help="wait until it is over; exit code 1 unless all went well")
    shown.add_argument("--why", default="", metavar="TEXT", help="a reason to stop it, for the audit")


def _order(arguments: argparse.Namespace) -> rollouts.Order:
    if arguments.alias != PRODUCTION:
        raise WrongUse(f"--alias does not go with --canary or --shadow; received {arguments.alias!r}")
    given = arguments.max_errors, arguments.max_latency, arguments.max_disagreement, arguments.min_requests
    kind = CANARY if arguments.canary else SHADOW
    return rollouts.Order(kind, arguments.canary or arguments.shadow, arguments.seconds, rollouts.Gates(*given))


def _begin(arguments: argparse.Namespace, store: Store, rollout: rollouts.Rollout) -> None:
    if arguments.json:
        print_json(rollout.told())
        return
    order = rollout.order
    name = f"{rollout.name}@{rollout.version}"
    print(f"{name} is {order.kind} for {order.seconds:g} seconds, at {order.share:.4g} of the requests")
    print(f"how it goes: tintype rollout {rollout.name}")
    print(store.root / rollout.name / rollouts.FOLDER / f"{rollout.id}.json")


def _rollout(arguments: argparse.Namespace, settings: Settings) -> None:
    store, name = Store(settings.models), parse(arguments.model).name
    home = store.root / name
    if not store.versions(name):
        store.resolve(Reference(name))  # says what there is
    from serving.rollouts.tally import summed

    if arguments.stop and (running := rollouts.running(home)):
        note = audit.here(arguments.why)
        measured = summed(home / rollouts.FOLDER / running.id).told()
        reason = f"stopped by {note.who}" + (f": {note.why}" if note.why else "")
        rollouts.end(store, running, rollouts.Outcome(rollouts.Status.STOPPED, reason, measured), note)
    while arguments.watch and rollouts.running(home):
        time.sleep(WATCH_SECONDS)
    found = next(iter(rollouts.history(home, 1)), None)
    if found is None:
        raise UnknownModel(f"{name} was never rolled out; tintype deploy {name} --canary 10% does it")
    told = found.told()
    if found.status == rollouts.Status.RUNNING:
        told["measured"] = summed(home / rollouts.FOLDER / found.id).told()
    _show_rollout(arguments, told)
    if arguments.watch and found.status in (rollouts.Status.TAKEN_BACK, rollouts.Status.STOPPED):
        raise TintypeError(found.reason)


def _show_rollout(arguments: argparse.Namespace, told: dict[str, Any]) -> None:
    if arguments.json:
        print_json(told)
        return
    print_table(("measured", ""), ((key, _cell(value)) for key, value in told["measured"].items()))
    print(f"{told['name']}@{told['version']} as {told['order']['kind']}, since {told['began']}: {told['status']}")
    if told["reason"]:
        print(told["reason"])


def share(text: str) -> float:
    """`10%` or `0.1`.

    Raises:
        ArgumentTypeError: it is no share.
    """
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a share such as 10% or 0.1; received {text!r}") from None


def seconds(text: str) -> float:
    """`90`, `90s`, `10m` or `2h`.

    Raises:
        ArgumentTypeError: it is no time.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be a time such as 90s, 10m or 2h; received {text!r}")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _rollback(arguments: argparse.Namespace, settings: Settings) -> None:
    store = Store(settings.models)
    version = store.rollback(arguments.model, audit.here(arguments.why))
    _show_alias(arguments, store, arguments.model, version, PRODUCTION)


def _show_alias(arguments: argparse.Namespace, store: Store, name: str, version: int, alias: str) -> None:
    if arguments.json:
        print_json({"name": name, "aliases": store.aliases(name)})
    else:
        print(f"{name}@{version} is {'in production' if alias == PRODUCTION else alias}")
        print(store.path(name, version))


def _audit(arguments: argparse.Namespace, settings: Settings) -> None:
    store = Store(settings.models)
    name = parse(arguments.model).name
    if not store.versions(name):
        store.resolve(Reference(name))  # says what there is
    lines = audit.lines(store.root / name, arguments.last)
    if arguments.json:
        print_json(lines)
    else:
        columns = ("time", "who", "action", "alias", "from", "to", "why")
        print_table(columns, ([_cell(line.get(column)) for column in columns] for line in lines))


def _cell(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return "-" if value is None else str(value)


def _prune(arguments: argparse.Namespace, settings: Settings) -> None:
    name = parse(arguments.model).name
    from serving.jobs.store import Jobs

    def pinned() -> set[int]:
        jobs = Jobs(settings.jobs).active()
        return {job.model["version"] for job in jobs if job.model["name"] == name}

    removed, kept = prune(Store(settings.models), name, arguments.keep, pinned, dry=arguments.dry_run)
    if arguments.json:
        print_json({"name": name, "removed": removed, "kept": kept})
        return
    done = "would be removed" if arguments.dry_run else "removed"
    print_table(("version", "", "because"), ((version, "kept", why) for version, why in kept.items()))
    print(f"{done}: {', '.join(f'{name}@{version}' for version in removed) or 'none'}")


def _whole(text: str) -> int:
    """A number of things as a person writes it."""
    if not (text.isascii() and text.isdigit()) or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; received {text!r}")
    return int(text[:9])
