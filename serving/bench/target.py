"""Where the requests go, as a person writes it."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from artifacts.errors import WrongUse
from artifacts.store import Reference

PORTS = {"http": 80, "https": 443}
PREDICT, READY = "/predict", "/health/ready"
_OURS = ("accept", "connection", "content-length", "content-type", "host", "transfer-encoding")
_TOKEN = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


class Target(NamedTuple):
    """A server: `prefix` is the path under which it lies, `query` that of each prediction, with its question mark."""

    scheme: str
    host: str
    port: int
    prefix: str
    query: str
    headers: dict[str, str]

    @property
    def authority(self) -> str:
        """Host and port as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def predict(self) -> str:
        """What follows POST."""
        return f"{self.prefix}{PREDICT}{self.query}"

    @property
    def root(self) -> str:
        """The server's own address."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def url(self) -> str:
        """Where the pictures are sent."""
        return f"{self.scheme}://{self.authority}{self.predict}"


def parse(url: str, model: Reference | None, top_k: int | None, headers: list[str], key: str = "") -> Target:
    """Read the address of a server, or of its /predict, and what each request shall carry.

    Args:
        url: such as `http://127.0.0.1:8000` or `https://host/below/predict?model=digits`.
        model: the one to ask, added to the query; None leaves the choice to the server.
        top_k: labels in an answer; None leaves them to the server.
        headers: each as `Name: value`.
        key: the API key; empty where none is asked for.

    Raises:
        WrongUse: the URL or a header makes no sense.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise WrongUse(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in PORTS or not host:
        raise WrongUse(f"the URL must be like http://127.0.0.1:8000 or https://host; received {url!r}")
    if parts.username is not None:
        raise WrongUse(
            "a URL with a password is seen by everyone; use --key-file, or --header 'Authorization: Basic …'"
        )
    prefix = quote(parts.path.rstrip("/").removesuffix(PREDICT), safe="/%:@!$&'()*+,;=~")
    query = urlencode([*parse_qsl(parts.query), *_parameters(model, top_k)])
    named = {**({"Authorization": f"Bearer {key}"} if key else {}), **dict(map(_header, headers))}
    return Target(parts.scheme, host, port or PORTS[parts.scheme], prefix, f"?{query}" if query else "", named)


def _parameters(model: Reference | None, top_k: int | None) -> list[tuple[str, object]]:
    given = {**(model._asdict() if model else {}), "top_k": top_k}
    return [("model" if name == "name" else name, value) for name, value in given.items() if value is not None]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
        raise WrongUse(f"a header is like 'Cookie: name=value'; received {len(text)} characters of another form")
    if name.lower() in _OURS:
        raise WrongUse(f"the header {name} is written by the bench itself; leave it out")
    return name, value
