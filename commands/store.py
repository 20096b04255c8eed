"""export, deploy, rollback, models."""

import argparse
from typing import Any

from artifacts import run as runs
from artifacts.settings import Settings
from artifacts.store import PRODUCTION, Store, parse
from commands import ALLOW_CODE, Add
from commands.home import check_writable
from printing import print_json, print_note, print_table


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    export = add("export", _export, "export a run to SavedModel and ONNX, proven equal to the Keras model")
    export.add_argument("run", metavar="RUN", help="path or id of a run, or `latest`")
    export.add_argument("--name", metavar="MODEL", help="name of the model (default: the run's)")
    export.add_argument("--precision", default="fp32", help="comma-separated; this version exports fp32")
    export.add_argument("--allow-code", action="store_true", help=ALLOW_CODE)
    deploy = add("deploy", _deploy, "point an alias at a version, by default the newest into production")
    deploy.add_argument("model", metavar="NAME[@VERSION]")
    deploy.add_argument("--alias", default=PRODUCTION, help=f"default: {PRODUCTION}")
    add("rollback", _rollback, "put the previous version back into production").add_argument("model", metavar="NAME")
    add("models", _models, "list the exported versions").add_argument("name", nargs="?", metavar="NAME")


def _export(arguments: argparse.Namespace, settings: Settings) -> None:
    check_writable(settings)
    run = runs.find(settings.runs, arguments.run)
    print_note("loading TensorFlow")
    from exporters.export import export

    say = print_note if arguments.json else print
    name = arguments.name or run.config()["name"]
    precisions = tuple(arguments.precision.split(","))
    bundle = export(run, Store(settings.models), name, precisions, say, allow_code=arguments.allow_code)
    if arguments.json:
        print_json({"bundle": str(bundle.path), **bundle.manifest})
    else:
        print(f"{bundle.name}@{bundle.version} is exported; put it into production: tintype deploy {bundle.name}")
        print(bundle.path)


def _deploy(arguments: argparse.Namespace, settings: Settings) -> None:
    store, reference = Store(settings.models), parse(arguments.model)
    from serving.engine.onnx import check_answers

    version = store.deploy(reference, arguments.alias, check_answers)
    _show_alias(arguments, store, reference.name, version, arguments.alias)


def _rollback(arguments: argparse.Namespace, settings: Settings) -> None:
    store = Store(settings.models)
    _show_alias(arguments, store, arguments.model, store.rollback(arguments.model), PRODUCTION)


def _show_alias(arguments: argparse.Namespace, store: Store, name: str, version: int, alias: str) -> None:
    if arguments.json:
        print_json({"name": name, "aliases": store.aliases(name)})
    else:
        print(f"{name}@{version} is {'in production' if alias == PRODUCTION else alias}")
        print(store.path(name, version))


def _models(arguments: argparse.Namespace, settings: Settings) -> None:
    entries = Store(settings.models).catalogue(arguments.name)
    if arguments.json:
        print_json(entries)
    elif not entries:
        print(f"no models in {settings.models} yet: `tintype export RUN` makes one")
    else:
        print_table(
            ("model", "version", "aliases", "accuracy", "parity", "sha256"),
            ([f"{each['name']}", each["version"], ", ".join(each["aliases"]), *_figures(each)] for each in entries),
        )


def _figures(entry: dict[str, Any]) -> list[str]:
    if "error" in entry:
        return ["-", "-", entry["error"]]
    parity = entry["variants"]["fp32"]["parity"]["max_difference"]
    accuracy = entry["metrics"]["test"]["accuracy"]  # None: an imported model that nobody gave labelled pictures for
    return ["-" if accuracy is None else f"{accuracy:.4f}", f"{parity:.0e}", entry["sha256"][:12]]
