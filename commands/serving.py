"""serve, predict, classify."""

import argparse
import json
import logging
import socket
import sys
from pathlib import Path

from tqdm import tqdm

from artifacts.errors import TintypeError, WrongUse
from artifacts.settings import Settings
from artifacts.store import Reference, Store, parse
from commands import Add
from commands.jobs import classify_there
from commands.keys import add_key_file
from printing import print_json, print_note, print_table


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    serve = add("serve", _serve, "serve the models in production over HTTP, with a page to drop pictures on")
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    serve.add_argument("--port", type=port, default=8000, help="default: 8000")
    worker = add(
        "worker", _worker, "hold the models and answer what comes through Redis; run as many as there are devices"
    )
    worker.add_argument(
        "--queues", type=_queues, default="online,batch", metavar="NAMES", help="default: online,batch; also: train"
    )
    worker.add_argument("--name", default=socket.gethostname(), help="default: the host's; each host needs its own")
    predict = add("predict", _predict, "classify a few pictures; no server is needed")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    classify = add("classify", _classify, "classify every file of a folder into a table; no server is needed")
    classify.add_argument("folder", metavar="FOLDER", help="of this machine, or s3://bucket/prefix, gs://bucket/prefix")
    classify.add_argument(
        "--out", type=Path, metavar="DIR", help="where the table goes (default: in jobs/ of TINTYPE_HOME)"
    )
    classify.add_argument("--url", help="have a `tintype serve` do it; FOLDER is then under its TINTYPE_FOLDERS")
    classify.add_argument("--webhook", metavar="URL", help="with --url: an address that is told of the end, signed")
    add_key_file(classify)
    for command in (predict, classify):
        command.add_argument("--model", metavar="NAME[@VERSION]", help="default: the only model in production")


def port(text: str) -> int:
    """A TCP port as a person writes it."""
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - 16 bits
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535; received {text!r}")
    return int(text)


def _serve(arguments: argparse.Namespace, settings: Settings) -> None:
    from serving.server import serve

    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host

    def started(guarded: bool) -> None:  # noqa: FBT001 - the one thing that it is told
        print_note(f"serving http://{host}:{arguments.port}{', to whoever has an API key' if guarded else ''}")
        if not guarded and (settings.keys or settings.rate_limit):
            print_note(
                "only this machine can reach it, so it asks for no API keys; TINTYPE_ASK_KEYS=always makes it ask"
            )
        if not Store(settings.models).in_production():
            print_note(f"no model in {settings.models} is in production yet; run: tintype deploy NAME")

    serve(settings, arguments.host, arguments.port, started)


def _queues(text: str) -> list[str]:
    from serving.queue import QUEUES

    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in QUEUES]:
        known = ", ".join(QUEUES)
        raise argparse.ArgumentTypeError(f"must be some of {known}, separated by commas; received {unknown[0]!r}")
    return names


def _worker(arguments: argparse.Namespace, settings: Settings) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from serving.worker import work

    sys.exit(work(settings, arguments.queues, arguments.name))


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
    if arguments.url:
        classify_there(arguments, settings)
        return
    if arguments.webhook:
        raise WrongUse("--webhook goes with --url: it is the server that tells of the end; here the command ends then")
    store, reference = _wanted(arguments.model, settings)
    version = store.path(reference.name, store.resolve(reference))
    from serving.jobs.classify import classify
    from serving.jobs.folders import to_folder

    folder = to_folder(arguments.folder)
    with tqdm(desc="classify", unit=" files", dynamic_ncols=True, delay=sys.float_info.epsilon) as bar:

        def progress(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.set_description("classify" if done < total else "classify, writing the table")

        job = classify(folder, version, arguments.out, settings, progress)
    summary = json.loads((job / "summary.json").read_bytes())
    if arguments.json:
        print_json({"job": str(job), **summary})
        return
    print_table(("label", "pictures"), summary["labels"].items())
    print(f"{summary['classified']} of {summary['total']} files classified, {summary['rejected']} refused")
    for file in ("results.csv", "contact_sheet.html", *(["rejects.csv"] if summary["rejected"] else [])):
        print(f"{file.partition('.')[0].replace('_', ' ')}: {job / file}")
    print(job)


def _wanted(text: str | None, settings: Settings) -> tuple[Store, Reference]:
    store = Store(settings.models)
    return store, parse(text) if text else Reference(store.only())
