"""The front door: the `tintype` command. Each sub-command imports its room only when it is called."""

import argparse
import errno
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from artifacts import run as runs
from artifacts import settings as settings_module
from artifacts.errors import TintypeError, UnknownModel, WrongUse
from artifacts.settings import Settings
from artifacts.store import PRODUCTION, Reference, Store, parse
from printing import print_json, print_note, print_table

FAILED = 1
INTERRUPTED = 130  # as shells count a death by SIGINT


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if stream:  # None where the shell has closed it
            stream.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments, settings_module.read(os.environ))
        if sys.stdout:
            sys.stdout.flush()
    except UnknownModel as error:
        where = os.environ.get("TINTYPE_HOME") or "./var"
        return _fail(f"{error} (looked in {where}, which TINTYPE_HOME sets)", error.exit_code, arguments)
    except TintypeError as error:
        return _fail(str(error), error.exit_code, arguments)
    except BrokenPipeError:  # `tintype models | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, arguments)
    except OSError as error:
        return _fail(_trouble(error), FAILED, arguments)
    except Exception as error:  # noqa: BLE001 - a defect, shown without its traceback unless asked for
        return _fail(f"a defect: {type(error).__name__}: {error}; --debug shows where", FAILED, arguments)
    return 0


def _trouble(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; free some space and run the same command again"
    return f"{error.strerror or error}{where}"


def _fail(sentence: str, code: int, arguments: argparse.Namespace) -> int:
    if arguments.debug:
        traceback.print_exc()
    print(f"tintype: {sentence}", file=sys.stderr)
    return code


def _writable(settings: Settings) -> None:
    """See before the work, and not after it, that its result can be kept."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        why = f"cannot write to {settings.home}: {error.strerror}"
        raise WrongUse(f"{why}; set TINTYPE_HOME to a folder that you can write to") from None


def _train(arguments: argparse.Namespace, settings: Settings) -> None:
    _writable(settings)
    from training import presets
    from training.run import train

    overrides = dict(_pair(text) for text in arguments.set)
    if arguments.epochs is not None:
        overrides["epochs"] = str(arguments.epochs)
    run = train(
        arguments.data,
        arguments.preset or presets.default(arguments.data),
        runs=settings.runs,
        name=arguments.name,
        data_dir=arguments.data_dir,
        overrides=overrides,
    )
    metrics = run.metrics()
    if arguments.json:
        print_json({"run": str(run.path), "id": run.id, "metrics": metrics})
        return
    for split in ("validation", "test"):
        print(f"{split} accuracy {metrics[split]['accuracy']:.4f}, loss {metrics[split]['loss']:.4f}")
    print(f"report: {run.report_file}")
    print(run.path)


def _export(arguments: argparse.Namespace, settings: Settings) -> None:
    _writable(settings)
    run = runs.find(settings.runs, arguments.run)
    print_note("loading TensorFlow")
    from exporters.export import export

    say = print_note if arguments.json else print
    name = arguments.name or run.config()["name"]
    bundle = export(run, Store(settings.models), name, tuple(arguments.precision.split(",")), say)
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
    return [f"{entry['metrics']['test']['accuracy']:.4f}", f"{parity:.0e}", entry["sha256"][:12]]


def _presets(arguments: argparse.Namespace, _: Settings) -> None:
    from training.presets import presets

    entries = presets()
    if arguments.json:
        print_json(entries)
    else:
        print_table(entries[0].keys(), (each.values() for each in entries))


def _runs(arguments: argparse.Namespace, settings: Settings) -> None:
    entries = [_described(run) for run in runs.finished(settings.runs)]
    if arguments.json:
        print_json(entries)
    elif not entries:
        print(f"no finished runs in {settings.runs} yet: `tintype train digits` makes one")
    else:
        print_table(("run", "model", "test accuracy", "path"), (each.values() for each in entries))


def _described(run: runs.Run) -> dict[str, Any]:
    try:
        name, accuracy = run.config()["name"], run.metrics()["test"]["accuracy"]
    except (TintypeError, ValueError, KeyError):  # one damaged run must not hide the others
        name = accuracy = None
    return {"id": run.id, "name": name, "accuracy": accuracy, "path": str(run.path)}


def _serve(arguments: argparse.Namespace, settings: Settings) -> None:
    from serving.server import serve

    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host

    def started() -> None:
        print_note(f"serving http://{host}:{arguments.port}")
        if not Store(settings.models).in_production():
            print_note(f"no model in {settings.models} is in production yet; run: tintype deploy NAME")

    serve(settings, arguments.host, arguments.port, started)


def _predict(arguments: argparse.Namespace, settings: Settings) -> None:
    store, reference = _wanted(arguments.model, settings)
    from serving.one_off import predict

    answer = predict(store.path(reference.name, store.resolve(reference)), arguments.images, settings)
    predictions = answer["predictions"]
    if arguments.json:
        print_json(answer)
    else:
        print_table(
            ("file", "label", "confidence"),
            ([each["file"], each.get("label", "-"), each.get("confidence", each.get("error", {}).get("message"))]
             for each in predictions),
        )  # fmt: skip
    if all("error" in each for each in predictions):
        raise TintypeError("none of the files could be classified")


def _classify(arguments: argparse.Namespace, settings: Settings) -> None:
    store, reference = _wanted(arguments.model, settings)
    version = store.path(reference.name, store.resolve(reference))
    from serving.jobs.classify import classify

    with tqdm(desc="classify", unit=" files", dynamic_ncols=True, delay=sys.float_info.epsilon) as bar:

        def progress(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.set_description("classify" if done < total else "classify, writing the table")

        job = classify(arguments.folder, version, arguments.out, settings, progress)
    summary = json.loads((job / "summary.json").read_bytes())
    if arguments.json:
        print_json({"job": str(job), **summary})
        return
    print_table(("label", "pictures"), summary["labels"].items())
    print(f"{summary['classified']} of {summary['total']} files classified, {summary['rejected']} refused")
    for file in ("results.csv", "contact_sheet.html", *(["rejects.csv"] if summary["rejected"] else [])):
        print(f"{file.partition('.')[0].replace('_', ' ')}: {job / file}")
    print(job)


def _demo(arguments: argparse.Namespace, settings: Settings) -> None:
    from demo import demo

    demo(settings, main, arguments.port, once=arguments.once)


def _wanted(text: str | None, settings: Settings) -> tuple[Store, Reference]:
    store = Store(settings.models)
    return store, parse(text) if text else Reference(store.only())


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise WrongUse(f"--set takes key=value, such as epochs=3; received {text!r}")
    return key.strip(), value.strip()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - 16 bits
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535; received {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tintype", description="Train, export and serve image classifiers.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[..., None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(command=command)
        added.add_argument("--debug", action="store_true", help="show a traceback when something fails")
        if name not in ("serve", "demo"):
            added.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        return added

    _add_training(add)
    _add_store(add)
    _add_serving(add)
    return parser


def _add_training(add: Callable[..., argparse.ArgumentParser]) -> None:
    train = add("train", _train, "train a network on labelled pictures")
    train.add_argument(
        "data", metavar="DATA", help="digits, mnist, or a folder of class/*.jpg or train|validation|test/class/*.jpg"
    )
    train.add_argument("--preset", help="architecture and recipe (default: one that fits; see `tintype presets`)")
    train.add_argument("--name", metavar="MODEL", help="name of the model (default: that of the data)")
    train.add_argument("--epochs", type=int, help="times over the training pictures (default: the preset's)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value of the preset")
    train.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the files of mnist lie (default: downloaded)"
    )
    export = add("export", _export, "export a run to SavedModel and ONNX, proven equal to the Keras model")
    export.add_argument("run", metavar="RUN", help="path or id of a run, or `latest`")
    export.add_argument("--name", metavar="MODEL", help="name of the model (default: the run's)")
    export.add_argument("--precision", default="fp32", help="comma-separated; this version exports fp32")
    add("presets", _presets, "list the architectures and their recipes")
    add("runs", _runs, "list the finished training runs")


def _add_store(add: Callable[..., argparse.ArgumentParser]) -> None:
    deploy = add("deploy", _deploy, "point an alias at a version, by default the newest into production")
    deploy.add_argument("model", metavar="NAME[@VERSION]")
    deploy.add_argument("--alias", default=PRODUCTION, help=f"default: {PRODUCTION}")
    add("rollback", _rollback, "put the previous version back into production").add_argument("model", metavar="NAME")
    add("models", _models, "list the exported versions").add_argument("name", nargs="?", metavar="NAME")


def _add_serving(add: Callable[..., argparse.ArgumentParser]) -> None:
    serve = add("serve", _serve, "serve the models in production over HTTP, with a page to drop pictures on")
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    serve.add_argument("--port", type=_port, default=8000, help="default: 8000")
    predict = add("predict", _predict, "classify a few pictures; no server is needed")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    classify = add("classify", _classify, "classify every file of a folder into a table; no server is needed")
    classify.add_argument("folder", type=Path, metavar="FOLDER")
    classify.add_argument(
        "--out", type=Path, metavar="DIR", help="where the table goes (default: in jobs/ of TINTYPE_HOME)"
    )
    for command in (predict, classify):
        command.add_argument("--model", metavar="NAME[@VERSION]", help="default: the only model in production")
    demo = add("demo", _demo, "go from nothing to a served model and a classified folder")
    demo.add_argument("--once", action="store_true", help="stop after one prediction instead of staying up")
    demo.add_argument("--port", type=_port, default=None, help="default: 8000, or the next free one")


if __name__ == "__main__":
    sys.exit(main())
