"""What the two clouds differ in: how a bucket is listed, page by page, and asked about an object.

fsspec's own listing would hold all that it finds. Errors are those of s3fs and gcsfs: FileNotFoundError,
PermissionError, and many others when something is in the way.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from artifacts import files
from artifacts.errors import WrongUse

CONNECT_SECONDS, READ_SECONDS = 5, 30


class Thing(NamedTuple):
    """An object as its bucket lists it."""

    key: str
    size: int
    changed: int  # another number when its content is another


class Bucket(Protocol):
    """A bucket that was opened; to be used from many threads."""

    def things(self, prefix: str, after: str | None, page: int) -> Iterator[Thing]:
        """Objects whose keys begin with a prefix, in the order of the keys, behind `after`, so many a request."""

    def thing(self, key: str) -> Thing:
        """One."""

    def read(self, key: str) -> bytes:
        """Its content."""


class S3Bucket:
    """A bucket of Amazon S3, or of what speaks as it does."""

    def __init__(self, name: str) -> None:
        import s3fs

        config = {
            "connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"max_attempts": 1},
        }  # fmt: skip
        self._files: Any = s3fs.S3FileSystem(config_kwargs=config)  # which tries again by itself
        self._name = name

    def things(self, prefix: str, after: str | None, page: int) -> Iterator[Thing]:
        """As in ListObjectsV2."""
        place = {"StartAfter": after} if after else {}
        while True:
            found = self._files.call_s3("list_objects_v2", Bucket=self._name, Prefix=prefix, MaxKeys=page, **place)
            yield from (Thing(each["Key"], each["Size"], _number(each["ETag"])) for each in found.get("Contents", ()))
            if not found.get("IsTruncated"):
                return
            place = {"ContinuationToken": found["NextContinuationToken"]}

    def thing(self, key: str) -> Thing:
        """As in HeadObject."""
        found = self._files.call_s3("head_object", Bucket=self._name, Key=key)
        return Thing(key, found["ContentLength"], _number(found["ETag"]))

    def read(self, key: str) -> bytes:
        """As in GetObject."""
        content: bytes = self._files.cat_file(f"{self._name}/{key}")
        return content


class GoogleBucket:
    """A bucket of Google Cloud Storage."""

    def __init__(self, name: str) -> None:
        import gcsfs

        self._files: Any = gcsfs.GCSFileSystem(requests_timeout=READ_SECONDS)
        self._name = name

    def things(self, prefix: str, after: str | None, page: int) -> Iterator[Thing]:
        """As in Objects: list."""
        place = {"startOffset": after} if after else {}
        while True:
            found = self._ask("b/{}/o", self._name, prefix=prefix, maxResults=page, json_out=True, **place)
            for each in found.get("items", ()):
                if each["name"] != after:  # startOffset is the first one that is listed
                    yield _of_google(each)
            if "nextPageToken" not in found:
                return
            place = {**place, "pageToken": found["nextPageToken"]}

    def thing(self, key: str) -> Thing:
        """As in Objects: get."""
        return _of_google(self._ask("b/{}/o/{}", self._name, key, json_out=True))

    def read(self, key: str) -> bytes:
        """As in Objects: get, alt=media."""
        _, content = self._ask("b/{}/o/{}", self._name, key, alt="media")
        return bytes(content)

    def _ask(self, *place: str, **more: object) -> Any:  # noqa: ANN401 - JSON, or headers and content
        try:
            return self._files.call("GET", *place, **more)
        except OSError as error:
            if str(error).startswith("Forbidden"):  # gcsfs has no error of its own for it
                raise PermissionError(str(error)) from error
            raise


BUCKETS: dict[str, Callable[[str], Bucket]] = {"s3": S3Bucket, "gs": GoogleBucket}


def open_bucket(scheme: str, name: str) -> Bucket:
    """A bucket by its scheme, s3 or gs, and its name.

    Raises:
        WrongUse: what is needed for it is not installed.
    """
    try:
        return BUCKETS[scheme](name)
    except ImportError as error:
        raise WrongUse(f"{scheme}:// needs {error.name}; run: pip install 'tintype[cloud]'") from error


def _of_google(found: dict[str, Any]) -> Thing:
    return Thing(found["name"], int(found["size"]), int(found["generation"]))


def _number(etag: str) -> int:
    return int(files.sha256(etag.encode())[:15], 16)
