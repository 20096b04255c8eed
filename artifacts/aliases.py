"""What a model's aliases name: `models/<name>/aliases.json`, {"production": 3, "previous": 2}, replaced atomically."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from artifacts import audit, files
from artifacts.audit import Change
from artifacts.errors import BadBundle

PRODUCTION = "production"
PREVIOUS = "previous"
CANARY = "canary"  # the version that a rollout gives a share of the requests to
SHADOW = "shadow"  # the version that a rollout copies a share of the requests to
FILE = "aliases.json"
LOCK = ".lock"  # of the model: held while what lies beside its versions is changed


def read(home: Path) -> dict[str, int]:
    """{alias: version} of the model in `home`; empty when nothing is deployed.

    Raises:
        BadBundle: the file is damaged or cannot be read.
    """
    path = home / FILE
    try:
        aliases = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadBundle(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        aliases = None
    if not isinstance(aliases, dict) or not all(type(version) is int for version in aliases.values()):
        raise BadBundle(f"{path} is damaged; remove it and deploy {home.name} again")
    return aliases


@contextmanager
def changing(home: Path, change: Change, then: Callable[[], None] | None = None) -> Iterator[dict[str, int]]:
    """The aliases to change, under the model's lock; written, and noted in the audit, unless the body raises.

    `then` is called when they are written, before anybody else can have the lock.

    Raises:
        BadBundle: they are damaged or cannot be read.
    """
    with files.locked(home / LOCK):
        before = read(home)
        after = dict(before)
        yield after
        audit.append(home, change, before.get(change.alias), after.get(change.alias))
        files.write_json(home / FILE, after)
        if then:
            then()
