"""Who may do what: the key of a request -> its entry -> the scope that the route asks for -> its rate."""

import hashlib
import hmac
import ipaddress
import logging
import time
from typing import NamedTuple

from artifacts.errors import WrongUse
from artifacts.settings import ALWAYS, Settings
from serving.access.keys import DEPLOY, JOBS, PREDICT, READ, TRAIN, Key, KeyFile, id_of
from serving.access.limits import Limits
from serving.errors import InsufficientScope, InvalidKey, KeyRequired

OPEN = frozenset({"/health/live", "/health/ready"})  # for those who restart and route; they tell nothing of the data
LOOK_SECONDS = 1.0  # between two looks at the file
_OF_SEGMENT = {"predict": PREDICT, "jobs": JOBS, "trainings": TRAIN}
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER = "bearer "

log = logging.getLogger(__name__)


class _Entry(NamedTuple):
    digest: bytes
    key: Key
    scopes: frozenset[str]


class Guard:
    """The keys of a file, followed while it serves, and the limits on each of them."""

    def __init__(self, file: KeyFile, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._entries: dict[str, _Entry] = {}
        self._looked = -LOOK_SECONDS
        self._seen: object = ()
        self._trouble = ""

    def check(self, method: str, path: str, authorization: str) -> str:
        """Identify and count a request; the name of its key, empty where none is asked for.

        Raises:
            KeyRequired, InvalidKey, InsufficientScope, RateLimited
        """
        key = self.identify(method, path, authorization)
        self.count(key)
        return key.name if key else ""

    def identify(self, method: str, path: str, authorization: str) -> Key | None:
        """The key of a request; None where none is asked for.

        Raises:
            KeyRequired, InvalidKey: it has none, or none that is known.
            InsufficientScope: its key is not meant for this.
        """
        if path in OPEN:
            return None
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._look()
        entry = self._entry(authorization)
        wanted = scope_of(method, path)
        if wanted not in entry.scopes:
            has = ", ".join(entry.key.scopes)
            raise InsufficientScope(f"this needs a key with the scope {wanted}; {entry.key.name!r} has {has}", wanted)
        return entry.key

    def count(self, key: Key | None) -> None:
        """Count a request of this key.

        Raises:
            RateLimited: it has made too many.
        """
        if key:
            self._limits.take(key.number)

    def _entry(self, authorization: str) -> _Entry:
        if not authorization:
            raise KeyRequired("this server asks for an API key; send it as Authorization: Bearer KEY")
        if authorization[: len(_BEARER)].lower() != _BEARER:
            raise InvalidKey("Authorization must be Bearer and an API key; received something else")
        given = authorization[len(_BEARER) :].strip(" ")
        entry = self._entries.get(id_of(given))
        if entry is None or not hmac.compare_digest(entry.digest, hashlib.sha256(given.encode()).digest()):
            raise InvalidKey("this API key is not known here: it is mistyped, or was revoked")
        return entry

    def _look(self) -> None:
        """Read the file again if it has changed. One that cannot be read changes nothing; one that is gone, all."""
        self._looked = time.monotonic()
        try:
            found = self._file.path.stat()
            seen: object = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError as error:
            seen = error.errno
        if seen == self._seen:
            return
        try:
            keys = self._file.read()
        except WrongUse as error:
            if str(error) != self._trouble:
                log.error("the keys stay as they were: %s", error)  # noqa: TRY400 - its sentence is enough
            self._trouble = str(error)
            return
        if self._seen and not keys:
            log.error("%s has no key any more: nobody is let in", self._file.path)
        self._entries = {key.id: _entry(key) for key in keys}
        self._seen, self._trouble = seen, ""


def open_guard(settings: Settings, address: str) -> Guard | None:
    """Who watches over a server that listens on this numeric address; None where no keys are asked for.

    Raises:
        WrongUse: keys are asked for, and there is none.
    """
    if not asks(settings, address):
        return None
    file = KeyFile(settings.keys_file)
    if not file.read():
        where = (
            f"TINTYPE_ASK_KEYS is {ALWAYS}" if settings.ask_keys == ALWAYS else f"{address} can be reached by others"
        )
        make = "tintype keys add NAME --scopes predict,jobs,deploy,train"
        raise WrongUse(f"{where}, so API keys are asked for, and {file.path} has none; make one: {make}")
    return Guard(file, Limits(settings.rate_limit, settings.rate_burst))


def asks(settings: Settings, address: str) -> bool:
    """Whether a server on this numeric address asks for keys: unless only this machine can reach it."""
    return settings.ask_keys == ALWAYS or not ipaddress.ip_address(address.partition("%")[0]).is_loopback


def scope_of(method: str, path: str) -> str:
    """What a key must be meant for. Whatever is not named here may be read by any key, and changed by DEPLOY's."""
    segment = path[1:].partition("/")[0]
    return _OF_SEGMENT.get(segment) or (READ if method in _HARMLESS else DEPLOY)


def _entry(key: Key) -> _Entry:
    return _Entry(bytes.fromhex(key.sha256), key, frozenset({*key.scopes, READ}))
