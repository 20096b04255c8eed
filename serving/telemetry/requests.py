"""Records -> the metrics of requests, folded in bulk."""

from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus

import numpy as np
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from serving.records import Record
from serving.telemetry.histogram import Histogram

STAGES = ("decode", "wait", "infer", "total")
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class RequestMetrics:
    """What all records of this process come to. Not for several threads at a time."""

    def __init__(self) -> None:
        self.dropped = 0  # records and lines that were lost on their way to the log
        self._requests: Counter[tuple[str, int, str]] = Counter()
        self._pictures = Counter({"answered": 0, "refused": 0, "failed": 0})
        self._seconds = {stage: Histogram(SECONDS) for stage in STAGES}

    def add(self, records: Sequence[Record]) -> None:
        """Count requests; the times only of those that brought pictures, lest health checks hide the slow ones."""
        self._requests.update((each.route, each.status, each.outcome) for each in records)
        brought = [each for each in records if each.pictures]
        if not brought:
            return
        refused = sum(each.refused for each in brought)
        failed = sum(each.pictures - each.refused for each in brought if each.status != HTTPStatus.OK)
        answered = sum(each.pictures for each in brought) - refused - failed
        self._pictures.update(answered=answered, refused=refused, failed=failed)
        times = np.array([(each.decode, each.wait, each.infer, each.total) for each in brought])
        inferred = np.array([each.batch > 0 for each in brought])
        for stage, column in zip(STAGES, times.T, strict=True):
            reached = inferred if stage in ("wait", "infer") else column > 0
            self._seconds[stage].observe(column[reached])

    def families(self) -> list[Metric]:
        """The metrics, for Prometheus."""
        requests = CounterMetricFamily(
            "tintype_requests", "HTTP requests by what came of them.", labels=("route", "status", "outcome")
        )
        for (route, status, outcome), count in self._requests.items():
            requests.add_metric((route, str(status), outcome), count)
        seconds = HistogramMetricFamily(
            "tintype_request_seconds", "Seconds of requests with pictures, by stage.", labels=("stage",)
        )
        for stage, histogram in self._seconds.items():
            seconds.add_metric((stage,), histogram.buckets(), histogram.sum)
        pictures = CounterMetricFamily("tintype_pictures", "Pictures by what came of them.", labels=("outcome",))
        for outcome, count in self._pictures.items():
            pictures.add_metric((outcome,), count)
        dropped = CounterMetricFamily(
            "tintype_log_dropped", "Records that are missing in the metrics, or in the access log.", self.dropped
        )
        return [requests, seconds, pictures, dropped]
