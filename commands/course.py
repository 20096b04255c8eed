"""The way of a training from pictures to production, room by room; what was done before is not done again."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts import audit, files, rollouts
from artifacts import bundle as bundles
from artifacts.aliases import CANARY, PRODUCTION
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle, Busy, TintypeError, WrongUse
from artifacts.manifest import PRECISIONS
from artifacts.run import Run
from artifacts.settings import Settings
from artifacts.store import Check, Reference, Store
from commands.store import precisions
from printing import print_note

if TYPE_CHECKING:
    from serving.trainings.training import Phase, Training

ROLLOUTS = 10  # of a model, the last ones, among which its own is looked for


@contextmanager
def alone(training: "Training", settings: Settings, *, led: bool) -> Iterator[None]:
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


def carry_out(training: "Training", settings: Settings) -> None:
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
    reason: str | None = f"nobody asked for it; tintype deploy {bundle.name}@{bundle.version} does it"
    try:
        _enter(training, Phase.COMPARING)
        gate(bundle)
        if order.deploy:
            _enter(training, Phase.DEPLOYING)
            reason = _put_in_place(training, bundle, store, gate)
    except (Worse, Incomparable, WrongUse) as error:
        reason = str(error)
    if gate.told:
        training.compared(_summary(gate.told))
    training.finish(bundle.version, reason, deployed=reason is None)


def _put_in_place(training: "Training", bundle: Bundle, store: Store, gate: Check) -> str | None:
    """Put it into production, or give it a share of the requests first; why it is not in production yet."""
    order, reference = training.order, Reference(bundle.name, bundle.version)
    here = audit.here(f"retrained: {training.id}")
    note = here._replace(who=order.who or here.who)
    if order.canary is None or PRODUCTION not in store.aliases(bundle.name):
        store.deploy(reference, PRODUCTION, gate, note)
        return None
    begun = [each.version for each in rollouts.history(store.root / bundle.name, ROLLOUTS)]
    if bundle.version not in begun:  # else a kill came between this and its note
        rollouts.start(store, reference, rollouts.Order(CANARY, order.canary, order.seconds), note, gate)
    return f"it is rolled out as a canary, which ends by itself; how it goes: tintype rollout {bundle.name}"


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
