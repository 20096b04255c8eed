"""train, presets, runs."""

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

from artifacts import run as runs
from artifacts.data_sets import NAMED
from artifacts.errors import TintypeError, WrongUse
from artifacts.settings import Settings
from commands import Add
from commands.home import check_writable
from printing import print_json, print_table

DATA_SETS = ", ".join(NAMED)


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    train = add("train", _train, "train a network on labelled pictures")
    train.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help=f"{DATA_SETS}, or a folder of class/*.jpg or train|validation|test/class/*.jpg",
    )
    train.add_argument("--preset", help="architecture and recipe (default: one that fits; see `tintype presets`)")
    train.add_argument("--name", metavar="MODEL", help="name of the model (default: that of the data)")
    train.add_argument("--epochs", type=int, help="times over the training pictures (default: the preset's)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the preset")
    train.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the files of a named data set lie (default: downloaded)"
    )
    train.add_argument("--find-rate", action="store_true", help="look for a learning rate first, and train with it")
    train.add_argument("--resume", metavar="RUN", help="go on with a run that was killed: path, id, or `latest`")
    add("presets", _presets, "list the architectures and their recipes")
    add("runs", _runs, "list the training runs")


def _train(arguments: argparse.Namespace, settings: Settings) -> None:
    _check_train(arguments)
    check_writable(settings)
    from training.run import resume, train

    if arguments.resume:
        run = resume(arguments.resume, runs=settings.runs, cache=settings.cache)
    else:
        run = train(
            arguments.data,
            arguments.preset,
            runs=settings.runs,
            cache=settings.cache,
            name=arguments.name,
            data_dir=arguments.data_dir,
            overrides=overrides(arguments),
            find_rate=arguments.find_rate,
        )
    metrics = run.metrics()
    if arguments.json:
        print_json({"run": str(run.path), "id": run.id, "metrics": metrics})
        return
    for split in ("validation", "test"):
        print(f"{split} accuracy {metrics[split]['accuracy']:.4f}, loss {metrics[split]['loss']:.4f}")
    print(f"report: {run.report_file}")
    print(run.path)


def overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """What `--set` and `--epochs` change of a recipe, as text.

    Raises:
        WrongUse: one is no key=value.
    """
    changed = dict(_pair(text) for text in arguments.set)
    return changed if arguments.epochs is None else {**changed, "epochs": str(arguments.epochs)}


def _check_train(arguments: argparse.Namespace) -> None:
    given = ("data", "preset", "name", "epochs", "set", "data_dir", "find_rate")
    if not arguments.resume and not arguments.data:
        raise WrongUse(f"DATA is missing: {DATA_SETS}, or a folder of pictures; or go on with --resume RUN")
    if arguments.resume and (extra := [name for name in given if getattr(arguments, name)]):
        words = ", ".join("DATA" if name == "data" else f"--{name.replace('_', '-')}" for name in extra)
        raise WrongUse(f"--resume goes on as the run was begun; leave out {words}")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise WrongUse(f"--set takes key=value, such as epochs=3; received {text!r}")
    return key.strip(), value.strip()


def _presets(arguments: argparse.Namespace, _: Settings) -> None:
    from training.presets import presets

    entries = presets()
    if arguments.json:
        print_json(entries)
    else:
        print_table(entries[0].keys(), (each.values() for each in entries))


def _runs(arguments: argparse.Namespace, settings: Settings) -> None:
    entries = [_described(run) for run in runs.begun(settings.runs)]
    if arguments.json:
        print_json(entries)
    elif not entries:
        print(f"no runs in {settings.runs} yet: `tintype train digits` makes one")
    else:
        shown = [{**each, "accuracy": "-" if each["accuracy"] is None else each["accuracy"]} for each in entries]
        columns = ("run", "model", "finished", "test accuracy", "path")
        print_table(columns, (each.values() for each in shown))


def _described(run: runs.Run) -> dict[str, Any]:
    name = accuracy = None  # one damaged run must not hide the others
    with suppress(TintypeError, ValueError, KeyError):
        name = run.config()["name"]
        accuracy = run.metrics()["test"]["accuracy"] if run.finished else None
    return {"id": run.id, "name": name, "finished": run.finished, "accuracy": accuracy, "path": str(run.path)}
