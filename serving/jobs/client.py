"""Jobs as a person asks for them: in a home folder, or of a server. Both answer alike."""

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Protocol

from artifacts.errors import TintypeError, WrongUse
from serving.jobs.progress import describe
from serving.jobs.store import Jobs

SECONDS = 30.0  # that a server may take to answer
CLIENT_ERRORS = range(400, 500)

Told = dict[str, Any]  # a job as GET /jobs/<id> answers it


class Client(Protocol):
    """Where jobs are."""

    def page(self, limit: int) -> list[Told]:
        """The newest first."""

    def get(self, name: str) -> Told:
        """One."""

    def cancel(self, name: str) -> Told:
        """Stop one."""

    def resume(self, name: str) -> Told:
        """Let one go on."""


class HomeJobs:
    """The jobs of a home folder."""

    def __init__(self, root: Path) -> None:
        self._jobs = Jobs(root)

    def page(self, limit: int) -> list[Told]:
        """The newest first."""
        return [describe(job) for job in self._jobs.page(limit)]

    def get(self, name: str) -> Told:
        """One."""
        return describe(self._jobs.get(name))

    def cancel(self, name: str) -> Told:
        """Stop one."""
        return describe(self._jobs.cancel(name))

    def resume(self, name: str) -> Told:
        """Let one go on."""
        return describe(self._jobs.resume(name))


class ServerJobs:
    """The jobs of a server; `key` is the API key that is sent along."""

    def __init__(self, url: str, key: str = "") -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUse(f"--url must be that of a `tintype serve`, such as http://127.0.0.1:8000; received {url!r}")
        self._url = url.rstrip("/")
        self._key = key

    def create(self, order: dict[str, Any]) -> Told:
        """Order a job: the body of POST /jobs.

        Raises:
            WrongUse: the server refuses it.
        """
        return self._ask("POST", "", json.dumps(order).encode())

    def page(self, limit: int) -> list[Told]:
        """The newest first."""
        return list(self._ask("GET", f"?limit={limit}")["jobs"])

    def get(self, name: str) -> Told:
        """One."""
        return self._ask("GET", f"/{_quoted(name)}")

    def cancel(self, name: str) -> Told:
        """Stop one."""
        return self._ask("POST", f"/{_quoted(name)}/cancel")

    def resume(self, name: str) -> Told:
        """Let one go on."""
        return self._ask("POST", f"/{_quoted(name)}/resume")

    def fetch(self, name: str, what: str, target: Path) -> None:
        """Write `results` or `contact-sheet` of a job to a file."""
        with self._open("GET", f"/{_quoted(name)}/{what}") as response, target.open("wb") as file:
            shutil.copyfileobj(response, file)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Told:
        with self._open(method, path, body) as response:
            told: Told = json.loads(response.read())
            return told

    def _open(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        headers = {"Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(f"{self._url}/jobs{path}", body, headers, method=method)  # noqa: S310 - checked
        if self._key:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")  # it is for this server alone
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=SECONDS)  # noqa: S310 - as above
        except urllib.error.HTTPError as error:
            with error:
                sentence = _detail(error.read()) or f"{self._url} answered {error.code} {error.reason}"
            raise (WrongUse if error.code in CLIENT_ERRORS else TintypeError)(sentence) from None
        except OSError as error:
            raise TintypeError(f"{self._url} does not answer: {getattr(error, 'reason', error)}") from None
        return response


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _detail(body: bytes) -> str:
    """The sentence of a problem document; nothing where it is none."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
