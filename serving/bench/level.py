"""What was measured at one number of connections."""

import json
from array import array
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np

from serving.bench.response import Response

SAMPLE = 17  # one answer of so many is read; a prime, so that no size of batches falls in step with it
STAGES = ("decode", "wait", "infer")


@dataclass(frozen=True)
class Level:
    """`connections` clients in a closed loop; times in milliseconds, None where nothing was answered with 200."""

    connections: int
    seconds: float
    ok: int  # requests answered with 200: nothing else counts as throughput
    requests_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    refused: dict[str, int]  # by HTTP status
    failed: dict[str, int]  # without a response, by reason
    said: dict[str, str]  # the sentence of the first refusal of each status
    stages_ms: dict[str, float] | None  # medians of what the server says of itself in its answers
    generator_cores: float  # processor seconds of the load generator a second

    @property
    def bad(self) -> dict[str, int]:
        """Every request that was not answered with 200."""
        return {**self.refused, **self.failed}


class Tally:
    """Counts while the load runs."""

    def __init__(self) -> None:
        self.latencies = array("d")  # seconds; of those answered with 200
        self.failed: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._timings: list[tuple[float, ...]] = []  # milliseconds of each of STAGES

    def add(self, response: Response, latency: float) -> None:
        """Count a whole response, `latency` seconds after its request."""
        if response.status != HTTPStatus.OK:
            self._refuse(response)
            return
        self.latencies.append(latency)
        if len(self.latencies) % SAMPLE == 1:
            self._sample(response)

    def level(self, connections: int, seconds: float, cores: float) -> Level:
        """What it came to; `seconds` that it took, and processor seconds a second."""
        ok = len(self.latencies)
        cuts = percentiles(self.latencies)
        return Level(
            connections,
            seconds,
            ok,
            requests_per_second=ok / seconds,
            p50_ms=cuts[0],
            p95_ms=cuts[1],
            p99_ms=cuts[2],
            max_ms=cuts[3],
            refused=dict(self._refused),
            failed=dict(self.failed),
            said=self._said,
            stages_ms=self._stages(),
            generator_cores=cores,
        )

    def _refuse(self, response: Response) -> None:
        status = str(response.status)
        self._refused[status] += 1
        if status not in self._said:
            self._said[status] = str(read_json(response.body).get("detail", ""))

    def _sample(self, response: Response) -> None:
        timings = read_json(response.body).get("timings")
        if isinstance(timings, dict):
            self._timings.append(tuple(float(timings.get(f"{stage}_ms", 0)) for stage in STAGES))

    def _stages(self) -> dict[str, float] | None:
        if not self._timings:
            return None
        medians = np.median(np.array(self._timings), axis=0).tolist()
        return dict(zip(STAGES, medians, strict=True))


def percentiles(latencies: "array[float]") -> tuple[float, ...] | tuple[None, ...]:
    """p50, p95, p99 and the maximum of latencies in seconds, as milliseconds; interpolated between neighbours."""
    if not latencies:
        return (None,) * 4
    return tuple((1000 * np.percentile(np.frombuffer(latencies), (50, 95, 99, 100))).tolist())


def read_json(body: bytes) -> dict[str, Any]:
    """The object in a body; an empty one for anything else, such as the page of a proxy."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
