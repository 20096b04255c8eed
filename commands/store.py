"""export, profile, models."""

import argparse
from typing import Any

from artifacts import bundle as bundles
from artifacts import run as runs
from artifacts import speed
from artifacts.aliases import PRODUCTION
from artifacts.manifest import PRECISIONS
from artifacts.settings import Settings
from artifacts.store import Reference, Store, check_name, parse
from commands import ALLOW_CODE, Add
from commands.home import check_writable
from printing import print_json, print_note, print_table


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    export = add("export", _export, "export a run to SavedModel and ONNX, proven equal to the Keras model")
    export.add_argument("run", metavar="RUN", help="path or id of a run, or `latest`")
    export.add_argument("--name", metavar="MODEL", help="name of the model (default: the run's)")
    listed: dict[str, Any] = {"type": precisions, "metavar": "LIST"}
    made = f"comma-separated; {PRECISIONS[0]} is always made (default: {','.join(PRECISIONS)})"
    export.add_argument("--precision", **listed, default=PRECISIONS, help=made)
    kept = "comma-separated; keep these although the gate refuses them, which the manifest records"
    export.add_argument("--allow", **listed, default=(), help=kept)
    export.add_argument("--allow-code", action="store_true", help=ALLOW_CODE)
    profile = add("profile", _profile, "measure anew on this machine how fast every variant of a version runs")
    profile.add_argument("model", metavar="NAME[@VERSION]", help="default: the version in production")
    add("models", _models, "list the exported versions").add_argument("name", nargs="?", metavar="NAME")


def _export(arguments: argparse.Namespace, settings: Settings) -> None:
    check_writable(settings)
    run = runs.find(settings.runs, arguments.run)
    name = check_name(arguments.name or run.config()["name"])
    print_note("loading TensorFlow")
    from exporters.export import export
    from exporters.variants import Order

    say = print_note if arguments.json else print
    order = Order(arguments.precision, arguments.allow)
    bundle = export(run, Store(settings.models), name, order, say, allow_code=arguments.allow_code)
    if arguments.json:
        print_json({"bundle": str(bundle.path), **bundle.manifest})
    else:
        _print_variants(bundle.manifest["variants"], bundle.manifest["left_out"])
        print(f"{bundle.name}@{bundle.version} is exported; put it into production: tintype deploy {bundle.name}")
        print(bundle.path)


def _profile(arguments: argparse.Namespace, settings: Settings) -> None:
    store, reference = Store(settings.models), parse(arguments.model)
    if reference.version is None and reference.alias is None and PRODUCTION not in store.aliases(reference.name):
        reference = Reference(reference.name, version=max(store.versions(reference.name), default=None))
    bundle = bundles.verify(store.path(reference.name, store.resolve(reference)))
    from exporters import profile

    measured = {}
    for variant in bundle.manifest["variants"]:
        print_note(f"measuring {variant}")
        measured[variant] = profile.measure(bundle.variant_file(variant), bundle.shape)
    path = speed.keep(bundle, measured)
    if arguments.json:
        print_json(
            {"name": bundle.name, "version": bundle.version, "measured_on": speed.machine(), "variants": measured}
        )
        return
    rows = [(variant, *point.values()) for variant, each in measured.items() for point in each["profile"]]
    print_table(("variant", "threads", "batch", "images/s", "ms a batch", "MB"), rows)
    print(path)


def _print_variants(variants: dict[str, Any], left_out: dict[str, str]) -> None:
    """What was made, and why others were not."""
    head = ("variant", "accuracy", "same labels", "largest difference", "images/s", "at batch", "")
    rows = [
        (
            name,
            _number(entry["accuracy"], ".4f"),
            f"{entry['parity']['agreement']:.2%}",
            f"{entry['parity']['max_difference']:.0e}",
            f"{entry['images_per_second']:,.0f}",
            entry["best_batch"],
            "allowed" if "allowed" in entry else "passed",
        )
        for name, entry in variants.items()
    ]
    print_table(head, rows)
    for name, why in left_out.items():
        print(f"{name} was left out: {why}")


def _number(value: float | None, form: str) -> str:
    """`-` for what was not measured."""
    return "-" if value is None else format(value, form)


def precisions(text: str) -> tuple[str, ...]:
    """`fp32,int8` as names.

    Raises:
        ArgumentTypeError: one is no precision.
    """
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if not set(names) <= set(PRECISIONS):
        raise argparse.ArgumentTypeError(f"must be some of {','.join(PRECISIONS)}; received {text!r}")
    return names


def _models(arguments: argparse.Namespace, settings: Settings) -> None:
    entries = Store(settings.models).catalogue(arguments.name)
    if arguments.json:
        print_json(entries)
    elif not entries:
        print(f"no models in {settings.models} yet: `tintype export RUN` makes one")
    else:
        print_table(
            ("model", "version", "aliases", "accuracy", "variants", "sha256"),
            ([f"{each['name']}", each["version"], ", ".join(each["aliases"]), *_figures(each)] for each in entries),
        )


def _figures(entry: dict[str, Any]) -> list[str]:
    if "error" in entry:
        return ["-", "-", entry["error"]]
    accuracy = entry["metrics"]["test"]["accuracy"]  # None: an imported model that nobody gave labelled pictures for
    return [_number(accuracy, ".4f"), ", ".join(entry["variants"]), entry["sha256"][:12]]
