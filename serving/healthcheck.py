"""What a container's healthcheck asks, for images without curl.

    python -m serving.healthcheck api       the server of this machine answers on port 8000
    python -m serving.healthcheck worker    the worker of this machine gave a sign of life lately
    python -m serving.healthcheck redis     Redis answers whoever has these settings

It ends with 0, or with 1 and a sentence, which `docker inspect` shows.
"""

import http.client
import os
import socket
import sys
from collections.abc import Mapping

from artifacts.errors import TintypeError, WrongUse
from serving.errors import NoModel

HOST, PORT = "127.0.0.1", 8000
SECONDS = 5.0  # that an answer may take


def check(way: str, environ: Mapping[str, str], port: int = PORT) -> None:
    """Ask one of the three questions.

    Raises:
        WrongUse: it is none of them, or a setting makes no sense.
        NoModel: the answer is no.
        OSError, HTTPException: there is no answer.
    """
    if way == "api":
        _ask_server(port)
    elif way == "worker":
        _ask_redis(environ, socket.gethostname())
    elif way == "redis":
        _ask_redis(environ)
    else:
        raise WrongUse(f"the healthcheck must be of api, worker or redis; received {way!r}")


def _ask_server(port: int) -> None:
    """It must answer, be a model in production or not."""
    connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/live")
        if (status := connection.getresponse().status) != http.client.OK:
            raise NoModel(f"the server answers {status}")
    finally:
        connection.close()


def _ask_redis(environ: Mapping[str, str], host: str = "") -> None:
    """It must answer and, where a host is given, have heard lately from the first worker of that host."""
    import redis

    from artifacts import settings
    from serving.lanes.redis import link

    with link.connect(settings.read(environ).redis_url) as client:
        try:
            answer = client.exists(f"{link.STATUS}{host}-0") if host else client.ping()
        except redis.RedisError as error:
            raise ConnectionError(f"Redis does not answer ({error})") from None
    if not answer:
        raise NoModel(f"no worker of {host} gave a sign of life in the last {link.ALIVE_SECONDS:g} s")


def main(arguments: list[str]) -> int:
    """The exit code."""
    try:
        check(" ".join(arguments), os.environ)
    except (OSError, http.client.HTTPException, TintypeError) as error:
        sys.stderr.write(f"healthcheck: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
