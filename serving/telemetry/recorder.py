"""A record of every request, made around the application: the only telemetry on a request's way."""

import os
import re
from collections.abc import Callable, Iterable
from itertools import count
from time import perf_counter, time
from typing import Any, Protocol

from serving.records import CALLER, RECORD, Record

REQUEST_ID = "X-Request-Id"  # the header, in both directions
_GIVEN = re.compile("(?!tintype_)[A-Za-z0-9._-]{1,64}").fullmatch  # may stand in a log as it is, and is no API key

Environ = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environ, Start], Iterable[bytes]]


class Records(Protocol):
    """Where records go."""

    def add(self, record: Record) -> None:
        """Take one; never blocks."""


class Recorder:
    """Begins records. A client's own X-Request-Id is kept when it is 1 to 64 of the characters A-Z, a-z, 0-9, `._-`."""

    def __init__(self) -> None:
        # Unique over processes and machines by its beginning, and cheap by its end.
        self._ids = map(f"{os.urandom(6).hex()}-%x".__mod__, count(1))

    def begin(self, method: str, path: str, given: str, traceparent: str) -> Record:
        """A record of a request that has just come in."""
        request_id = given if _GIVEN(given) else next(self._ids)
        return Record(request_id, time(), perf_counter(), method, path, traceparent)


class Recorded:
    """A WSGI application that leaves a record of each request, and names the request in its answer's headers.

    The record lies in `environ[RECORD]` for whoever answers.
    """

    def __init__(self, application: Application, recorder: Recorder, records: Records) -> None:
        self._application = application
        self._recorder = recorder
        self._records = records

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        """Answer a request as the application does."""
        record = environ[RECORD] = self._recorder.begin(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("HTTP_X_REQUEST_ID", ""),
            environ.get("HTTP_TRACEPARENT", ""),
        )
        record.caller = environ.get("asgi.scope", {}).get(CALLER, "")

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:  # noqa: ANN401 - PEP 3333
            record.status = int(status[:3])
            headers.append((REQUEST_ID, record.request_id))
            return start_response(status, headers, exc_info)

        try:
            return self._application(environ, start)
        except BaseException:
            record.status, record.outcome = 500, "internal_error"  # what the web server will answer
            raise
        finally:
            record.total = perf_counter() - record.began
            self._records.add(record)
