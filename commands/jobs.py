"""jobs, job, and classify on a server."""

import argparse
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from artifacts.errors import TintypeError
from artifacts.settings import Settings
from artifacts.store import parse
from commands import Add
from commands.keys import add_key_file, key_for
from printing import print_json, print_table

if TYPE_CHECKING:
    from serving.jobs.client import Client

LOOK_SECONDS = 0.5  # between two looks at a job that is watched
PAGE = 20
FETCHED = (("results", "results.csv"), ("contact-sheet", "contact_sheet.html"))


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    jobs = add("jobs", _jobs, "list the folder jobs, the newest first")
    jobs.add_argument("--limit", type=int, default=PAGE, metavar="N", help=f"how many (default: {PAGE})")
    job = add("job", _job, "show a folder job, watch it, stop it, or let it go on")
    job.add_argument("id", metavar="ID")
    what = job.add_mutually_exclusive_group()
    what.add_argument("--watch", action="store_true", help="show its progress until it is over")
    what.add_argument("--cancel", action="store_true", help="stop it; it can be resumed")
    what.add_argument("--resume", action="store_true", help="let one go on that was cancelled or has failed")
    for command in (jobs, job):
        command.add_argument("--url", help="of a `tintype serve` (default: the jobs in TINTYPE_HOME)")
        add_key_file(command)


def classify_there(arguments: argparse.Namespace, settings: Settings) -> None:
    """`tintype classify FOLDER --url URL`: order it, watch it, fetch the table where `--out` says so."""
    from serving.jobs.client import ServerJobs

    server = ServerJobs(arguments.url, key_for(arguments, settings))
    order: dict[str, Any] = {"folder": arguments.folder}
    if arguments.model:
        reference = parse(arguments.model)._asdict()
        order |= {"model": reference.pop("name"), **{key: value for key, value in reference.items() if value}}
    if arguments.webhook:
        order["webhook"] = arguments.webhook
    told = _watch(server, server.create(order)["id"])
    if arguments.out and told["status"] == "succeeded":
        arguments.out.mkdir(parents=True, exist_ok=True)
        for what, file in FETCHED:
            server.fetch(told["id"], what, Path(arguments.out, file))
    _show(told, arguments)


def _jobs(arguments: argparse.Namespace, settings: Settings) -> None:
    page = _client(arguments, settings).page(arguments.limit)
    if arguments.json:
        print_json(page)
        return
    rows = ([each["id"], each["status"], _counted(each), f"{each['rejected']:,}", _named(each)] for each in page)
    print_table(("job", "status", "done", "refused", "model"), rows)


def _job(arguments: argparse.Namespace, settings: Settings) -> None:
    client = _client(arguments, settings)
    told = client.get(arguments.id)
    if arguments.cancel:
        told = client.cancel(arguments.id)
    elif arguments.resume:
        told = client.resume(arguments.id)
    elif arguments.watch:
        told = _watch(client, arguments.id)
    _show(told, arguments)


def _client(arguments: argparse.Namespace, settings: Settings) -> "Client":
    from serving.jobs.client import HomeJobs, ServerJobs

    if arguments.url:
        return ServerJobs(arguments.url, key_for(arguments, settings))
    return HomeJobs(settings.jobs)


def _watch(client: "Client", name: str) -> dict[str, Any]:
    """Show a bar until the job is over; Ctrl-C ends the watching and not the job."""
    told = client.get(name)
    bar = tqdm(desc=name, unit=" files", dynamic_ncols=True, delay=sys.float_info.epsilon)
    with bar, suppress(KeyboardInterrupt):
        while not _is_over(told):
            bar.total, bar.n = told["total"], told["done"]
            bar.set_description(f"{told['status']}, {told['reason']}" if told["reason"] else told["status"])
            time.sleep(LOOK_SECONDS)
            told = client.get(name)
        bar.total, bar.n = told["total"], told["done"]
        bar.set_description(told["status"])
    return told


def _show(told: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(told)
    else:
        seconds = None if _is_over(told) else told["eta_seconds"]
        left = "" if seconds is None else f", {seconds:,.0f} s left"
        rate = f"{told['rate']:,.0f} files/s"
        print(f"{told['status']}: {_counted(told)} files, {told['rejected']:,} refused, {rate}{left}")
        print(f"model: {_named(told)}")
    if told["status"] == "failed":
        raise TintypeError(f"{told['id']} has failed: {told['reason']}")
    if not arguments.json:
        if told["reason"]:
            print(f"because {told['reason']}")
        print(told["id"])


def _counted(told: dict[str, Any]) -> str:
    return f"{told['done']:,} of {told['total']:,}"


def _named(told: dict[str, Any]) -> str:
    model = told["model"]
    return f"{model['name']}@{model['version']}"


def _is_over(told: dict[str, Any]) -> bool:
    from serving.jobs.job import OVER

    return told["status"] in OVER
