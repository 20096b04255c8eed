"""What an engine counts while it works."""

import threading

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from serving.telemetry.histogram import Histogram

SIZES = tuple(2**n for n in range(11))  # pictures in a batch: 1 to 1024


class EngineStats:
    """Plain counters, added to once a batch by the engine's threads, read by whoever publishes them.

    `expired`, `claimed` and `poisoned` are rare and may be added to from outside: `stats.expired += 1`.
    """

    def __init__(self) -> None:
        self.engines = 0
        self.batches: dict[int, int] = {}  # pictures in a batch: how many such batches
        self.busy = 0.0  # seconds in the runtime, summed over threads
        self.expired = 0
        self.claimed = 0
        self.poisoned = 0
        self._lock = threading.Lock()

    def batch(self, pictures: int, seconds: float) -> None:
        """Count one batch."""
        with self._lock:
            self.batches[pictures] = self.batches.get(pictures, 0) + 1
            self.busy += seconds

    def families(self) -> list[Metric]:
        """The metrics, for Prometheus."""
        with self._lock:
            batches, busy = dict(self.batches), self.busy
        sizes = Histogram(SIZES)
        sizes.observe(np.array(list(batches), np.float64), np.array(list(batches.values()), np.int64))
        return [
            HistogramMetricFamily("tintype_batch_size", "Pictures in a batch.", sizes.buckets(), sizes.sum),
            CounterMetricFamily("tintype_engine_busy_seconds", "Seconds in which engines ran a batch.", busy),
            GaugeMetricFamily("tintype_engines", "Engines: threads that each run one batch at a time.", self.engines),
            CounterMetricFamily("tintype_expired", "Requests dropped because nobody waited any more.", self.expired),
            CounterMetricFamily("tintype_claimed", "Requests taken over from a worker that died.", self.claimed),
            CounterMetricFamily("tintype_poisoned", "Requests given up after several workers failed.", self.poisoned),
        ]
