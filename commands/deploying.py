"""deploy, rollback, audit, prune: which version answers."""

import argparse
from typing import Any

from artifacts import audit
from artifacts.aliases import PRODUCTION
from artifacts.held_out import REQUIREMENT
from artifacts.prune import LEAST, prune
from artifacts.settings import Settings
from artifacts.store import Reference, Store, parse
from commands import REQUIRE, Add
from printing import print_json, print_note, print_table

LINES = 20  # of the audit that are shown


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    deploy = add("deploy", _deploy, "point an alias at a version, by default the newest into production")
    deploy.add_argument("model", metavar="NAME[@VERSION]")
    deploy.add_argument("--alias", default=PRODUCTION, help=f"default: {PRODUCTION}")
    deploy.add_argument("--require", default=REQUIREMENT, metavar="EXPRESSION", help=REQUIRE)
    rollback = add("rollback", _rollback, "put the previous version back into production")
    rollback.add_argument("model", metavar="NAME")
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
        required if arguments.alias == PRODUCTION else requirement.parse(requirement.NONE),
        measure_here(settings),
    )
    version = store.deploy(reference, arguments.alias, gate, note)
    if gate.told:
        print_note(gate.told["verdict"]["sentence"])
    _show_alias(arguments, store, reference.name, version, arguments.alias)


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
