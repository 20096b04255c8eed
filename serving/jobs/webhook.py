"""Sends what is told of a job's end: signed as Standard Webhooks says, until it is accepted.

    POST <the address of the order>
    webhook-id          the same in every attempt, so that a receiver can tell a message that it has had
    webhook-timestamp   seconds since 1970, of this attempt
    webhook-signature   v1,<base64 of HMAC-SHA256 over "id.timestamp.body">; one for each secret, with a space between

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

An address is part of an order, so whoever may order could have the server knock at any door of its network. It sends
only to hosts that a setting names, by their names, and follows no redirection.
"""

import base64
import binascii
import hashlib
import hmac
import http.client
import json
import logging
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from artifacts.settings import Settings
from serving.errors import BadRequest, NotNow
from serving.jobs import notice as notices
from serving.jobs.job import Job
from serving.jobs.notice import Notice, State
from serving.jobs.progress import describe
from serving.jobs.store import Jobs

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
SECONDS = 10.0  # that a receiver may take for each step
AT_ONCE = 8  # messages under way
LONGEST = 2_000  # characters of an address
_SCHEMES = {"http": 80, "https": 443}

log = logging.getLogger(__name__)


class Webhooks:
    """Sends what is due, off the way of whoever asks for it."""

    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        self._jobs, self._settings = jobs, settings
        self._under_way: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether something is on its way, or due."""
        return bool(self._under_way) or any(notices.is_due(job.path) for job in self._jobs.untold())

    def turn(self) -> None:
        """Begin to send what is due, as far as there is room."""
        for job in self._jobs.untold():
            if len(self._under_way) >= AT_ONCE:
                return
            if job.id not in self._under_way and notices.is_due(job.path):
                self._under_way.add(job.id)
                threading.Thread(target=self._send, args=(job,), name="webhook", daemon=True).start()

    def _send(self, job: Job) -> None:
        try:
            deliver(job, self._settings)
        except OSError as error:  # it was deleted meanwhile, or there is no room
            log.warning("the webhook of %s cannot be sent now: %s", job.id, error)
        except Exception:
            log.exception("the webhook of %s failed, a defect", job.id)
        finally:
            self._under_way.discard(job.id)


def deliver(job: Job, settings: Settings) -> Notice:
    """Make one attempt to tell of the end of a job, and write down what came of it."""
    notice = notices.prepare(job.path)
    if notice.state != State.WAITING:
        return notice
    notice = replace(notice, body=notice.body or json.dumps(describe(job), ensure_ascii=False)).attempted()
    notices.keep(job.path, notice)
    try:
        check(job.webhook, settings)
        status = _post(job.webhook, notice, secrets(settings))
    except (BadRequest, NotNow, OSError, http.client.HTTPException) as error:
        notice = notice.answered(str(error) or type(error).__name__, accepted=False, final=False)
    else:
        accepted = status // 100 == HTTPStatus.OK // 100
        notice = notice.answered(str(status), accepted=accepted, final=status == HTTPStatus.GONE)
    if notice.state != State.DELIVERED:
        log.warning("the webhook of %s, attempt %d: %s", job.id, notice.attempts, notice.answer)
    notices.keep(job.path, notice)
    return notice


def check(address: str, settings: Settings) -> None:
    """Whether messages may go to an address.

    Raises:
        BadRequest: they may not; the sentence says why.
        NotNow: there is nothing to sign them with.
    """
    if not settings.webhook_hosts:
        raise BadRequest("TINTYPE_WEBHOOK_HOSTS is not set on the server, so it sends no webhooks")
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port or _SCHEMES.get(parts.scheme, 0)
    except ValueError:
        raise BadRequest(f"webhook must be an address such as https://example.org/done; {_came(address)}") from None
    if not port or not parts.hostname or parts.username is not None or not _is_plain(address):
        raise BadRequest(f"webhook must be an address such as https://example.org/done; {_came(address)}")
    own = parts.hostname if port == _SCHEMES[parts.scheme] else None
    if not {own, f"{parts.hostname}:{port}"} & set(settings.webhook_hosts):
        raise BadRequest(f"webhook leads to {parts.hostname}:{port}, which TINTYPE_WEBHOOK_HOSTS does not allow")
    secrets(settings)


def secrets(settings: Settings) -> list[bytes]:
    """What messages are signed with: a line each, `whsec_` and base64; while one replaces another, there are two.

    Raises:
        NotNow: there are none that can be used.
    """
    try:
        lines = Path(settings.webhook_secret).read_text(encoding="ascii").split() if settings.webhook_secret else []
        found = [base64.b64decode(line.removeprefix(PREFIX), validate=True) for line in lines]
    except (OSError, ValueError, binascii.Error):
        found = []
    if not found or not all(len(each) in SECRET_BYTES for each in found):
        least, most = SECRET_BYTES[0], SECRET_BYTES[-1]
        message = f"lines of {PREFIX} and base64 of {least} to {most} bytes; without it no webhook is sent"
        raise NotNow(f"TINTYPE_WEBHOOK_SECRET must name a file on the server with {message}")
    return found


def signature(name: str, timestamp: int, body: bytes, keys: list[bytes]) -> str:
    """The header `webhook-signature`."""
    signed = f"{name}.{timestamp}.".encode() + body
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def _post(address: str, notice: Notice, keys: list[bytes]) -> int:
    """Send a message; the status of the answer."""
    parts, body, timestamp = urllib.parse.urlsplit(address), notice.body.encode(), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "tintype",
        "webhook-id": notice.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(notice.id, timestamp, body, keys),
    }
    connection = _connect(parts.scheme)(parts.hostname or "", parts.port)
    try:
        connection.request("POST", urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")), body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _connect(scheme: str) -> Callable[[str, int | None], http.client.HTTPConnection]:
    if scheme == "https":
        context = ssl.create_default_context()
        return lambda host, port: http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
    return lambda host, port: http.client.HTTPConnection(host, port, timeout=SECONDS)


def _is_plain(address: str) -> bool:
    return len(address) <= LONGEST and address.isascii() and address.isprintable() and " " not in address


def _came(address: str) -> str:
    return f"received {address[:200]!r}"
