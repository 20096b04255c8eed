"""Whether traces are wanted: OpenTelemetry's own environment variables say so.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from artifacts.errors import WrongUse

if TYPE_CHECKING:
    from serving.telemetry.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")  # the first that is set is taken
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether an endpoint is set, and can be used.

    Raises:
        WrongUse: the packages are missing, or the endpoint is none that we can speak to.
    """
    name = next((name for name in ENDPOINTS if environ.get(name)), None)
    if name is None:
        return False
    if not environ[name].startswith(("http://", "https://")):
        raise WrongUse(f"{name} must be an address like http://localhost:4318; received {environ[name]!r}")
    protocol = next((environ[each] for each in PROTOCOLS if environ.get(each)), PROTOCOL)
    if protocol != PROTOCOL:
        raise WrongUse(f"traces are sent by {PROTOCOL}, usually to port 4318; the protocol set is {protocol!r}")
    if not all(map(_installed, NEEDED)):
        raise WrongUse(f"{name} is set, and OpenTelemetry is not installed; run: pip install 'tintype[telemetry]'")
    return True


def open_traces(environ: Mapping[str, str]) -> "Spans | None":
    """Where records become spans; None when no endpoint is set. To be called after the last fork.

    Raises:
        WrongUse: as `wanted`.
    """
    if not wanted(environ):
        return None
    from serving.telemetry.spans import Spans

    return Spans()


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # a parent of it is missing
        return False
