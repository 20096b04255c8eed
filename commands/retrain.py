"""retrain: from labelled pictures to production in one command, which goes on where a kill has left it."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.data_sets import NAMED
from artifacts.errors import WrongUse
from artifacts.held_out import REQUIREMENT
from artifacts.manifest import PRECISIONS
from artifacts.settings import Settings
from artifacts.store import Store, check_name
from commands import REQUIRE, Add
from commands.course import alone, carry_out
from commands.deploying import seconds, share
from commands.home import check_writable
from commands.store import precisions
from commands.training import DATA_SETS, overrides
from printing import print_json

if TYPE_CHECKING:
    from serving.trainings.store import Trainings
    from serving.trainings.training import Training

LATEST = "latest"
CANARY_SECONDS = 600.0
_WORDS = {"name": "NAME", "seconds": "--for"}
NICE = 10  # behind whoever answers requests


def add_to(add: Add) -> None:
    """Add the command of this file."""
    retrain = add("retrain", _retrain, "train, export, compare and, with --deploy, deploy a new version")
    retrain.add_argument("name", nargs="?", metavar="NAME", help="of the model")
    retrain.add_argument("--data", metavar="DATA", help=f"{DATA_SETS}, or a folder of pictures, as for `tintype train`")
    retrain.add_argument("--data-dir", type=Path, metavar="DIR", help="where the files of a named data set lie")
    retrain.add_argument("--preset", help="architecture and recipe (default: those of the version in production)")
    retrain.add_argument("--epochs", type=int, help="times over the training pictures")
    retrain.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the recipe")
    made = f"comma-separated; {PRECISIONS[0]} is always made (default: {','.join(PRECISIONS)})"
    retrain.add_argument("--precision", type=precisions, metavar="LIST", help=made)
    retrain.add_argument("--deploy", action="store_true", help="put it into production, if it is good enough")
    text = "give it this share of the requests first, such as 10%%, and promote it or take it back by itself"
    retrain.add_argument("--canary", type=share, metavar="SHARE", help=text)
    retrain.add_argument("--for", type=seconds, metavar="TIME", dest="seconds", help="of the canary (default: 10m)")
    retrain.add_argument("--require", metavar="EXPRESSION", help=REQUIRE)
    retrain.add_argument("--resume", metavar="TRAINING", help=f"go on with one that was interrupted: id, or `{LATEST}`")
    retrain.add_argument("--child-of", type=int, metavar="PID", help=argparse.SUPPRESS)  # a trainer's, which leads it


def _retrain(arguments: argparse.Namespace, settings: Settings) -> None:
    _check(arguments)
    check_writable(settings)
    if arguments.child_of:
        from serving.children import die_with_parent

        die_with_parent(arguments.child_of)
        os.nice(NICE)
    from serving.trainings.store import Trainings

    trainings = Trainings(settings.trainings)
    training = _resumed(trainings, arguments.resume) if arguments.resume else _ordered(trainings, arguments, settings)
    with alone(training, settings, led=bool(arguments.child_of)):
        carry_out(training, settings)
    _show(training, arguments, settings)


def _check(arguments: argparse.Namespace) -> None:
    recipe = ("data", "data_dir", "preset", "epochs", "set", "precision")
    given = ("name", *recipe, "deploy", "canary", "seconds", "require")
    if not arguments.resume and not (arguments.name and arguments.data):
        data = f"{DATA_SETS}, or a folder of pictures"
        raise WrongUse(f"NAME and --data DATA are needed, and DATA is {data}; or go on with --resume TRAINING")
    if arguments.resume and (extra := [name for name in given if getattr(arguments, name)]):
        words = ", ".join(_WORDS.get(name, f"--{name.replace('_', '-')}") for name in extra)
        raise WrongUse(f"--resume goes on as the training was begun; leave out {words}")


def _ordered(trainings: "Trainings", arguments: argparse.Namespace, settings: Settings) -> "Training":
    from serving.comparison import requirement
    from serving.trainings.store import earlier_run
    from serving.trainings.training import Order

    name, store = check_name(arguments.name), Store(settings.models)
    required = requirement.parse(arguments.require or REQUIREMENT)
    data = arguments.data if arguments.data in NAMED else str(Path(arguments.data).absolute())
    order = Order(
        name=name,
        data=data,
        data_dir=str(arguments.data_dir.absolute()) if arguments.data_dir else None,
        preset=arguments.preset,
        overrides=overrides(arguments),
        precisions=",".join(arguments.precision) if arguments.precision else None,
        deploy=arguments.deploy or arguments.canary is not None,
        canary=arguments.canary,
        seconds=arguments.seconds or CANARY_SECONDS,
        require=required.text,
    )
    return trainings.create(order, earlier_run(store, settings.runs, name, arguments.preset))


def _resumed(trainings: "Trainings", name: str) -> "Training":
    from serving.trainings.training import Status

    training = trainings.latest() if name == LATEST else trainings.get(name)
    if training.status() == Status.SUCCEEDED:
        raise WrongUse(f"training {training.id} is over; there is nothing to go on with")
    return training


def _show(training: "Training", arguments: argparse.Namespace, settings: Settings) -> None:
    from serving.trainings.progress import describe

    told = describe(training, settings.runs)
    version = Store(settings.models).path(told["name"], told["version"])
    if arguments.json:
        print_json({**told, "bundle": str(version)})
        return
    if told["comparison"]:
        print(told["comparison"]["sentence"])
    if told["deployed"]:
        print(f"{told['name']}@{told['version']} is in production")
    else:
        print(f"{told['name']}@{told['version']} is not deployed: {told['reason']}")
    print(version)
