"""What is remembered of one request: the source of the metrics, the access log and the traces.

`serving.telemetry.recorder` makes a record when a request comes in, whoever answers it fills it in, and
`serving.telemetry.sink` tells the rest of the world, off the request's way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from artifacts.census import Look

RECORD = "tintype.record"  # its key in the WSGI environ
CALLER = "tintype.caller"  # the key in the ASGI scope under which the name of an API key lies


@dataclass(slots=True)
class Record:
    """One HTTP request, filled in on its way; times in seconds, 0 where a stage was not reached."""

    request_id: str
    started: float  # time.time()
    began: float  # time.perf_counter() of the same moment
    method: str = ""
    path: str = ""  # as the client sent it
    traceparent: str = ""  # as the client sent it (W3C Trace Context)
    route: str = ""  # the rule, not the path: bounded; filled in by the sink
    status: int = 0
    outcome: str = "ok"  # or the stable code of a problem
    model: str = ""
    version: int = 0
    variant: str = ""
    pictures: int = 0
    refused: int = 0  # of the pictures: those that could not be decoded
    decode: float = 0.0
    wait: float = 0.0
    infer: float = 0.0
    batch: int = 0
    total: float = 0.0  # until the answer was made; sending it is not in it
    caller: str = ""  # the name of the API key that came with it
    looks: Sequence[Look] = ()  # at some of the pictures, for the census; whole when the status is 200

    def timings(self) -> dict[str, float]:
        """Milliseconds of each stage, and in all until now, as an answer tells them to its client."""
        return {
            "decode_ms": round(1000 * self.decode, 3),
            "wait_ms": round(1000 * self.wait, 3),
            "infer_ms": round(1000 * self.infer, 3),
            "total_ms": round(1000 * (perf_counter() - self.began), 3),
        }
