"""API keys: each is shown once, when it is made; the file keeps its sha256.

A key reads `tintype_<id>_<secret>`. The id is no secret, and finds the entry. The secret has 256 random bits: one of at
least 112 needs no salt and no slow hash (NIST SP 800-63B, 5.1.2.2), which protect what people make up.
"""

import json
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import files
from artifacts.errors import WrongUse

PREDICT, JOBS, DEPLOY, TRAIN, READ = SCOPES = ("predict", "jobs", "deploy", "train", "read")
MOST = 65_536  # keys that a file ever gives: each has a number of its own, by which its requests are counted
SECRET_BYTES = 32
_ID_BYTES = 6
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"tintype_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_SHA256 = re.compile("[0-9a-f]{64}")
_SHOWN = re.compile(r"tintype_[0-9a-f]{12}_[A-Za-z0-9_-]+")


class Key(NamedTuple):
    """An entry of the file."""

    id: str
    name: str
    number: int  # 0 to MOST - 1, never given twice
    sha256: str  # of the whole key
    scopes: tuple[str, ...]
    created: str  # RFC 3339


class KeyFile:
    """The file that TINTYPE_KEYS names: mode 0600, replaced as a whole, so that a reader never sees a part."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Key]:
        """All keys, oldest first; none where there is no file.

        Raises:
            WrongUse: it cannot be read, or is no file of keys.
        """
        return self._read()[1]

    def add(self, name: str, scopes: list[str]) -> str:
        """Make a key, keep its hash, and return it: nobody can tell it again.

        Raises:
            WrongUse: the name is taken or no name, or a scope is unknown.
        """
        _check(name, scopes)
        with self._locked():
            following, keys = self._read()
            if name in {key.name for key in keys}:
                raise WrongUse(f"there is a key {name!r} already; revoke it first, or choose another name")
            if following >= MOST:
                raise WrongUse(f"{self.path} has given all of its {MOST:,} numbers; begin another file")
            made = f"tintype_{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(SECRET_BYTES)}"
            now = datetime.now(UTC).isoformat(timespec="seconds")
            ordered = tuple(scope for scope in SCOPES if scope in scopes)
            key = Key(id_of(made), name, following, files.sha256(made.encode()), ordered, now)
            self._write(following + 1, [*keys, key])
        return made

    def revoke(self, name: str) -> None:
        """Take a key away: servers refuse it within two seconds.

        Raises:
            WrongUse: there is none of this name.
        """
        with self._locked():
            following, keys = self._read()
            left = [key for key in keys if key.name != name]
            if len(left) == len(keys):
                have = ", ".join(key.name for key in keys) or "none"
                raise WrongUse(f"there is no key {hidden(name)!r} in {self.path}; there are: {have}")
            self._write(following, left)

    def _locked(self) -> Any:  # noqa: ANN401 - contextlib's own type
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return files.locked(self.path.with_name(f".{self.path.name}.lock"))

    def _read(self) -> tuple[int, list[Key]]:
        try:
            content = json.loads(self.path.read_bytes())
            keys = [Key(**{**each, "scopes": tuple(each["scopes"])}) for each in content["keys"]]
            following = content["next"]
            sound = isinstance(following, int) and all(map(_is_sound, keys))
        except FileNotFoundError:
            return 0, []
        except OSError as error:
            raise WrongUse(f"the keys in {self.path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise WrongUse(f"{self.path} is no file that `tintype keys` has written; move it away, and add keys anew")
        return following, keys

    def _write(self, following: int, keys: list[Key]) -> None:
        content = {"next": following, "keys": [key._asdict() for key in keys]}
        files.write_atomic(self.path, json.dumps(content, indent=1) + "\n", files.PRIVATE)


def id_of(key: str) -> str:
    """The part of a key that is no secret; empty for what is no key."""
    found = _KEY.fullmatch(key)
    return found[1] if found else ""


def hidden(text: str) -> str:
    """A text without the secrets of the keys in it: a person may put one anywhere."""
    return _SHOWN.sub("tintype_…", text)


def contains_key(text: str) -> bool:
    """Whether there is a key, or most of one, in a text."""
    return _SHOWN.search(text) is not None


def _check(name: str, scopes: list[str]) -> None:
    if not _NAME.fullmatch(name) or contains_key(name):
        raise WrongUse("the name of a key is 1 to 64 of the characters A-Z a-z 0-9 . _ -; it says who has it")
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise WrongUse(f"there is no scope {hidden(unknown[0])!r}; give some of {', '.join(SCOPES)}")


def _is_sound(key: Key) -> bool:
    return (
        all(isinstance(text, str) for text in (key.id, key.name, key.sha256, key.created, *key.scopes))
        and _SHA256.fullmatch(key.sha256) is not None
        and isinstance(key.number, int)
        and 0 <= key.number < MOST
    )
