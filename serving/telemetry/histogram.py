"""A histogram that takes observations in bulk."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client.utils import floatToGoString

Buckets = list[tuple[str, float]]  # upper bound as text, and how many observations are not above it


class Histogram:
    """Observations counted by upper bound, as Prometheus has them: a bound belongs to its own bucket."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.array(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)  # the last one: above every bound
        self.sum = 0.0

    def observe(self, values: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> None:
        """Count values, float64 (N,); with `counts`, int64 (N,), each so many times."""
        places = np.searchsorted(self._bounds, values)
        self._counts += np.bincount(places, counts, minlength=len(self._counts)).astype(np.int64)
        self.sum += float(values.sum() if counts is None else values @ counts)

    def buckets(self) -> Buckets:
        """The cumulative counts, the last of them under "+Inf"."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, self._counts.cumsum().tolist(), strict=True))
