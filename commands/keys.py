"""keys: who may use a server; and the key that a command sends to one."""

import argparse
import re
from pathlib import Path

from artifacts.errors import WrongUse
from artifacts.settings import Settings
from commands import Add
from printing import print_json, print_note, print_table

MOST_BYTES = 4096  # of a file that holds one key


def add_to(add: Add) -> None:
    """Add the command of this file."""
    keys = add("keys", _list, "list the API keys of a server, make one, or revoke one")
    actions = keys.add_subparsers(title="actions", metavar="ACTION")
    listing = actions.add_parser("list", help="who has a key, and what for")
    listing.set_defaults(command=_list)
    new = actions.add_parser("add", help="make a key; it is shown once")
    new.set_defaults(command=_add)
    new.add_argument("name", metavar="NAME", help="who has it; it stands in the access log")
    meant = "comma-separated: predict, jobs, deploy, train, read; any key may read models and metrics"
    new.add_argument("--scopes", required=True, type=_scopes, metavar="LIST", help=meant)
    revoke = actions.add_parser("revoke", help="take a key away; servers follow within two seconds")
    revoke.set_defaults(command=_revoke)
    revoke.add_argument("name", metavar="NAME")
    for action in (listing, new, revoke):
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document")


def add_key_file(command: argparse.ArgumentParser) -> None:
    """Add `--key-file` to a command that asks a server."""
    text = "file that holds the server's API key and nothing else (default: the key in TINTYPE_KEY, if any)"
    command.add_argument("--key-file", type=Path, metavar="FILE", help=text)


def key_for(arguments: argparse.Namespace, settings: Settings) -> str:
    """The key to send; empty when none was given.

    Raises:
        WrongUse: what was given is no key.
    """
    where, key = "TINTYPE_KEY", settings.key
    if arguments.key_file:
        where = str(arguments.key_file)
        try:
            with arguments.key_file.open("rb") as file:
                key = file.read(MOST_BYTES).decode("ascii", "replace").strip()
        except OSError as error:
            raise WrongUse(f"the key in {where} cannot be read: {error.strerror}") from None
    if not re.fullmatch("[!-~]*", key) or (arguments.key_file and not key):
        raise WrongUse(f"{where} must hold one API key, as `tintype keys add` has printed it, and nothing else")
    return key


def _list(arguments: argparse.Namespace, settings: Settings) -> None:
    from serving.access.keys import KeyFile

    keys = KeyFile(settings.keys_file).read()
    if arguments.json:
        print_json([{"name": key.name, "id": key.id, "scopes": key.scopes, "created": key.created} for key in keys])
    elif not keys:
        print(f"no keys in {settings.keys_file} yet: `tintype keys add NAME --scopes predict` makes one")
    else:
        print_table(
            ("name", "scopes", "created", "begins with"),
            ([key.name, ", ".join(key.scopes), key.created, f"tintype_{key.id}"] for key in keys),
        )


def _add(arguments: argparse.Namespace, settings: Settings) -> None:
    from serving.access.keys import KeyFile

    key = KeyFile(settings.keys_file).add(arguments.name, arguments.scopes)
    if arguments.json:
        print_json({"name": arguments.name, "scopes": arguments.scopes, "key": key})
        return
    print_note(f"this is shown once; {settings.keys_file} keeps only its hash")
    print(key)


def _revoke(arguments: argparse.Namespace, settings: Settings) -> None:
    from serving.access.keys import KeyFile

    KeyFile(settings.keys_file).revoke(arguments.name)
    if arguments.json:
        print_json({"name": arguments.name})
    else:
        print(arguments.name)


def _scopes(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",")))
