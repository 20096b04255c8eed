"""Pictures in a bucket, by way of fsspec: s3://bucket/prefix, gs://bucket/prefix.

Credentials and addresses are read where the providers' own tools read them (AWS_*, ~/.aws, gcloud's). An object that is
missing or may not be read is a row with its reason, as a file is. Whatever else goes wrong (a network that is away, a
bucket that is denied, keys that ran out) is no fault of a picture: the job waits.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from artifacts.errors import BadPicture, TintypeError
from serving.errors import NotNow
from serving.jobs import buckets
from serving.jobs.buckets import Bucket, Thing
from serving.jobs.walk import Hidden, Input

MAX_BYTES = 256_000_000  # of an object
PAGE = 1000  # objects that are listed by one request
AT_ONCE = 32  # requests of a process: each waits for the network, not for the processor
AHEAD_BYTES = 64_000_000  # of objects that are fetched in advance

Read = Callable[[], bytes]


class CloudFolder(NamedTuple):
    """All objects under an address, which has no slash at its end."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rpartition("/")[2]

    def exists(self) -> bool:
        """Whether it holds anything.

        Raises:
            NotNow: it cannot be known: the network is away, or the bucket is denied.
        """
        try:
            with self._reached():
                return next(self._bucket().things(self._prefix(), None, 1), None) is not None
        except FileNotFoundError:
            return False
        except PermissionError as error:
            raise NotNow(f"{self.url} may not be listed: access is denied") from error

    def walk(self, after: str | None = None, hidden: Hidden | None = None) -> Iterator[Input]:
        """Its objects in the order of their keys, hidden ones left out, page by page; `after`: behind that one.

        Raises:
            NotNow: it cannot be listed.
        """
        prefix = self._prefix()
        things = self._bucket().things(prefix, prefix + after if after else None, PAGE)
        while thing := self._next(things):
            path = thing.key[len(prefix) :]
            if any(part.startswith(".") for part in path.split("/")):
                if hidden:
                    hidden.count += 1
            elif not path.endswith("/"):
                yield Input(path, thing.size, thing.changed)

    def look(self, entries: Iterable[tuple[str, str]]) -> Iterator[Input]:
        """Inputs of paths and their labels, as a manifest names them.

        Raises:
            NotNow: they cannot be looked at.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            each = iter(entries)
            while some := list(islice(each, 4 * AT_ONCE)):
                yield from pool.map(self._look, some)

    def readers(self, inputs: list[Input]) -> Iterator[Read]:
        """For each input what gives its bytes, once. They are fetched in advance, many at a time.

        What is given raises:
            BadPicture: the object is too long.
            FileNotFoundError, PermissionError: it is missing, or may not be read.
            NotNow: it cannot be read, and is not to blame.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for some in _light(inputs):
                yield from [pool.submit(self._read_whole, each).result for each in some]

    def read(self, path: str) -> bytes:
        """An object's bytes.

        Raises:
            FileNotFoundError, PermissionError, NotNow: as for `readers`.
        """
        with self._reached():
            return self._bucket().read(self._key(path))

    def _read_whole(self, listed: Input) -> bytes:
        if listed.problem:
            return b""
        if listed.size > MAX_BYTES:
            raise BadPicture(f"the file has {listed.size:,} bytes; at most {MAX_BYTES:,} are read")
        return self.read(listed.path)

    def _look(self, entry: tuple[str, str]) -> Input:
        path, truth = entry
        if not is_inside(self.url, path):
            return Input(path, 0, 0, "outside: the path leads out of the manifest's folder", truth)
        try:
            with self._reached():
                thing = self._bucket().thing(self._key(path))
        except OSError as error:
            return Input(path, 0, 0, f"file_unreadable: the file cannot be read ({error.strerror})", truth)
        return Input(path, thing.size, thing.changed, "", truth)

    def _next(self, things: Iterator[Thing]) -> Thing | None:
        try:
            with self._reached():
                return next(things, None)
        except OSError as error:
            raise NotNow(f"{self.url} cannot be listed ({error.strerror})") from error

    def _key(self, path: str) -> str:
        return address(self.url, path).split("/", 3)[3]

    def _prefix(self) -> str:
        """Of the keys of its objects."""
        return "".join(f"{part}/" for part in self.url.split("/")[3:])

    def _bucket(self) -> Bucket:
        scheme, _, name = self.url.split("/")[:3]
        return _opened(scheme.removesuffix(":"), name, os.getpid())

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except TintypeError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except PermissionError as error:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
        except Exception as error:  # s3fs and gcsfs have no base class of their own errors
            raise NotNow(f"{self.url} cannot be reached now ({' '.join(str(error).split())[:300]})") from error


def is_cloud(text: str) -> bool:
    """Whether a text is an address in the cloud."""
    return "://" in text


def address(root: str, path: str) -> str:
    """Of a path, which may be one already."""
    return path if is_cloud(path) else f"{root}/{path}"


def is_inside(root: str, path: str) -> bool:
    """Whether a path stays below an address; dots, which a server might resolve, never do."""
    whole = f"{address(root, path)}/"
    return whole.startswith(f"{root}/") and not {".", ".."} & set(whole.split("/")) and "\0" not in whole


def _light(inputs: list[Input]) -> Iterator[list[Input]]:
    """In groups that fit into memory together."""
    some: list[Input] = []
    size = 0
    for each in inputs:
        if some and size + each.size > AHEAD_BYTES:
            yield some
            some, size = [], 0
        some.append(each)
        size += each.size
    yield some


@lru_cache
def _opened(scheme: str, name: str, _process: int) -> Bucket:
    """One for all threads; another process needs its own."""
    return buckets.open_bucket(scheme, name)
