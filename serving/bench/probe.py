"""The first two requests, one after the other: is the server ready, and who answers?"""

import http.client
import socket
import ssl
from http import HTTPStatus
from typing import Any, NamedTuple

from artifacts.errors import TintypeError
from serving.bench.connection import Route
from serving.bench.level import read_json
from serving.bench.requests import Message
from serving.bench.target import READY, Target

IDENTITY = ("name", "version", "sha256", "variant")  # of a model, in every answer
TIMEOUT_SECONDS = 30  # the first request after a deploy may wait for a model

_TROUBLES: dict[type[OSError], str] = {
    socket.gaierror: "there is no host {host!r} ({why}); check the URL",
    ConnectionRefusedError: "nothing listens on {there}; start `tintype serve` there, or check the URL",
    TimeoutError: f"{{there}} did not answer within {TIMEOUT_SECONDS} s",
    ssl.SSLCertVerificationError: "the certificate of {host} is not trusted ({why}); "
    "set SSL_CERT_FILE to the file of the authority that signed it",
    ssl.SSLError: "{there} does not speak TLS ({why}); try http:// instead of https://",
}


class Answering(NamedTuple):
    """Who answers: the model as its answers name it, and the way to the server."""

    model: dict[str, Any]
    route: Route


def ask(target: Target, message: Message) -> Answering:
    """Ask whether the server is ready, and send it the first pictures.

    Raises:
        TintypeError: it cannot be reached, is not ready, refuses a picture, or is no Tintype server.
    """
    context = ssl.create_default_context() if target.scheme == "https" else None
    connection = _connection(target, context)
    try:
        connection.connect()
        route = Route(connection.sock.family, connection.sock.getpeername(), context, target.host)
        _check_ready(target, connection)
        return Answering(_predict(target, connection, message), route)
    except (OSError, http.client.HTTPException) as error:
        raise TintypeError(_trouble(target, error)) from None
    finally:
        connection.close()


def _connection(target: Target, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if context:
        return http.client.HTTPSConnection(target.host, target.port, timeout=TIMEOUT_SECONDS, context=context)
    return http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_SECONDS)


def _check_ready(target: Target, connection: http.client.HTTPConnection) -> None:
    connection.request("GET", target.prefix + READY, headers=target.headers)
    response = connection.getresponse()
    answer = read_json(response.read())
    if response.status == HTTPStatus.OK and "models" in answer:
        return
    if said := answer.get("detail"):
        raise TintypeError(f"the server at {target.root} is not ready ({response.status}): {said}")
    where = response.getheader("Location")
    elsewhere = f", which leads to {where}" if where else ""
    came = f"GET {target.prefix}{READY} was answered with {response.status}{elsewhere}"
    raise TintypeError(f"{target.root} is no Tintype server: {came}; give the address of a `tintype serve`")


def _predict(target: Target, connection: http.client.HTTPConnection, message: Message) -> dict[str, Any]:
    """The model that answers."""
    headers = {**target.headers, "Content-Type": message.kind}
    connection.request("POST", target.predict, message.body, headers)
    response = connection.getresponse()
    answer = read_json(response.read())
    if response.status != HTTPStatus.OK:
        said = answer.get("detail") or response.reason
        raise TintypeError(f"the server refused {', '.join(message.names[:3])} with {response.status}: {said}")
    try:
        for name, prediction in zip(message.names, answer["predictions"], strict=True):
            if "error" in prediction:
                raise TintypeError(f"the server refused {name}: {prediction['error']['message']}")
        return {key: answer["model"][key] for key in IDENTITY}
    except (KeyError, TypeError, ValueError):
        raise TintypeError(f"{target.url} did not answer as Tintype does; is it the right address?") from None


def _trouble(target: Target, error: OSError | http.client.HTTPException) -> str:
    """Why there is no answer, and what to do."""
    there = f"{target.host}:{target.port}"
    for kind, sentence in _TROUBLES.items():
        if isinstance(error, kind):
            return sentence.format(there=there, host=target.host, why=_why(error))
    if isinstance(error, http.client.HTTPException | ConnectionError) and target.scheme == "http":
        return f"{there} did not answer in HTTP ({_why(error)}); try https:// if it serves that"
    return f"{there} cannot be reached: {_why(error)}"


def _why(error: OSError | http.client.HTTPException) -> str:
    words = [getattr(error, name, None) for name in ("verify_message", "reason", "strerror")]
    return next((word for word in words if word), str(error) or type(error).__name__)
