"""retrain: from labelled pictures to production in one command, which goes on where a kill has left it."""

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts import audit, files
from artifacts import bundle as bundles
from artifacts.aliases import PRODUCTION
from artifacts.bundle import Bundle
from artifacts.data_sets import NAMED
from artifacts.errors import BadBundle, Busy, TintypeError, WrongUse
from artifacts.held_out import REQUIREMENT
from artifacts.manifest import PRECISIONS
from artifacts.run import Run
from artifacts.settings import Settings
from artifacts.store import Reference, Store, check_name
from commands import REQUIRE, Add
from commands.home import check_writable
from commands.store import precisions
from commands.training import DATA_SETS, overrides
from printing import print_json, print_note

if TYPE_CHECKING:
    from serving.trainings.store import Trainings
    from serving.trainings.training import Phase, Training

LATEST = "latest"
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
    with _alone(training, settings, led=bool(arguments.child_of)):
        _carry_out(training, settings)
    _show(training, arguments, settings)


def _check(arguments: argparse.Namespace) -> None:
    given = ("name", "data", "data_dir", "preset", "epochs", "set", "precision", "deploy", "require")
    if not arguments.resume and not (arguments.name and arguments.data):
        data = f"{DATA_SETS}, or a folder of pictures"
        raise WrongUse(f"NAME and --data DATA are needed, and DATA is {data}; or go on with --resume TRAINING")
    if arguments.resume and (extra := [name for name in given if getattr(arguments, name)]):
        words = ", ".join("NAME" if name == "name" else f"--{name.replace('_', '-')}" for name in extra)
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
        deploy=arguments.deploy,
        require=required.text,
    )
    return trainings.create(order, earlier_run(store, settings.runs, name, arguments.preset))


def _resumed(trainings: "Trainings", name: str) -> "Training":
    from serving.trainings.training import Status

    training = trainings.latest() if name == LATEST else trainings.get(name)
    if training.status() == Status.SUCCEEDED:
        raise WrongUse(f"training {training.id} is over; there is nothing to go on with")
    return training


@contextmanager
def _alone(training: "Training", settings: Settings, *, led: bool) -> Iterator[None]:
    """One process a training, one training a device; whoever leads this process gives the signs of life for it."""
    from serving.trainings.devices import lock_file
    from serving.trainings.training import WORK

    busy = f"{training.id} is being carried out by another process; wait for it"
    with ExitStack() as held:
        held.enter_context(files.locked(training.path / ".lock", wait=False, busy=busy))
        if not led:
            lease = training.leases.claim(WORK)
            if lease is None:
                raise Busy(busy)
            held.enter_context(lease)
            training.unmark()
        device = lock_file(settings.trainings)
        try:
            held.enter_context(files.locked(device, wait=False))
        except Busy:
            print_note("another training is at work on this device; waiting for it")
            held.enter_context(files.locked(device))
        yield
        if not led:
            training.leases.clear(WORK)


def _carry_out(training: "Training", settings: Settings) -> None:
    """The story: train, export, compare, deploy; what was done before is not done again."""
    try:
        run = _trained(training, settings)
        version = _exported(training, run, settings)
        _deployed(training, version, settings)
    except TintypeError as error:
        from serving.trainings.training import Status

        if training.status() != Status.CANCELLED:
            training.mark(Status.FAILED, str(error))
        raise


def _trained(training: "Training", settings: Settings) -> Run:
    from serving.trainings.training import Phase

    run, order = Run(settings.runs / training.run), training.order
    if run.finished:
        return run
    _enter(training, Phase.TRAINING)
    from training.run import resume, train

    if (run.path / "config.toml").exists():
        return resume(training.run, runs=settings.runs, cache=settings.cache)
    shutil.rmtree(run.path, ignore_errors=True)  # it was killed before there was anything to go on with
    return train(
        order.data,
        order.preset,
        runs=settings.runs,
        cache=settings.cache,
        name=order.name,
        data_dir=Path(order.data_dir) if order.data_dir else None,
        overrides=order.overrides,
        run_id=training.run,
        after=Run(settings.runs / training.after) if training.after else None,
    )


def _exported(training: "Training", run: Run, settings: Settings) -> Bundle:
    from serving.trainings.training import Phase

    store, name = Store(settings.models), training.order.name
    bundle = _published(store, name, run)
    if bundle is None:
        _enter(training, Phase.EXPORTING)
        from exporters.export import export
        from exporters.variants import Order

        wanted = precisions(training.order.precisions) if training.order.precisions else PRECISIONS
        bundle = export(run, store, name, Order(wanted), print_note)
    training.exported(bundle.version)
    return bundle


def _published(store: Store, name: str, run: Run) -> Bundle | None:
    """The version that was made of this run, if one was."""
    for version in reversed(store.versions(name)):
        with suppress(BadBundle):
            bundle = bundles.verify(store.path(name, version))
            if bundle.manifest.get("run", {}).get("id") == run.id:
                return bundle
    return None


def _deployed(training: "Training", bundle: Bundle, settings: Settings) -> None:
    """Compare it with what is in production and, if that is asked for and it is good enough, put it there."""
    from serving.comparison import requirement
    from serving.comparison.gate import Gate, measure_here
    from serving.errors import Incomparable, Worse
    from serving.trainings.training import Phase

    store, order = Store(settings.models), training.order
    gate = Gate(store, requirement.parse(order.require), measure_here(settings))
    if store.aliases(bundle.name).get(PRODUCTION) == bundle.version:  # a kill came between the deploy and its note
        training.finish(bundle.version, None, deployed=True)
        return
    reason = None if order.deploy else f"nobody asked for it; tintype deploy {bundle.name}@{bundle.version} does it"
    try:
        _enter(training, Phase.COMPARING)
        gate(bundle)
        if order.deploy:
            _enter(training, Phase.DEPLOYING)
            note = audit.here(f"retrained: {training.id}")
            store.deploy(Reference(bundle.name, bundle.version), PRODUCTION, gate, note)
    except (Worse, Incomparable, WrongUse) as error:
        reason = str(error)
    if gate.told:
        training.compared(_summary(gate.told))
    training.finish(bundle.version, reason, deployed=reason is None)


def _summary(told: dict[str, Any]) -> dict[str, Any]:
    """What a training says of its comparison; all of it lies beside the versions."""
    sides = {}
    for side in ("candidate", "current"):
        found = told[side]
        figures = {key: found["scores"][key] for key in ("accuracy", "loss")} if found else {}
        sides[side] = {"version": found["version"], **figures} if found else None
    verdict = {key: told["verdict"][key] for key in ("passed", "sentence", "require")}
    changed = {key: told["changed"][key] for key in ("broken", "mended", "otherwise")} if told["changed"] else None
    return {**verdict, "pictures": told["pictures"], **sides, "labels": told["labels"], "changed": changed}


def _enter(training: "Training", phase: "Phase") -> None:
    """Go on to what comes next, unless a person has cancelled it.

    Raises:
        TintypeError: one has.
    """
    from serving.trainings.training import Status

    if training.status() == Status.CANCELLED:
        raise TintypeError(f"{training.id} was cancelled")
    training.enter(phase)
    print_note(f"{phase}: {training.order.name}")


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
