"""Metrics as text: what one process says of itself, and what many processes come to.

A scrape reaches any one of several web processes, and workers cannot be scraped at all. So each process makes a text of
its own, others keep it, and whoever is asked adds them up.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from serving.telemetry.requests import RequestMetrics
from serving.telemetry.stats import EngineStats

__all__ = ["CONTENT_TYPE", "Snapshot", "State", "as_text", "exposition", "merged"]

SHA256_SHOWN = 12  # characters: enough to tell versions apart
MEMORY, SHARED = "memory", "redis"  # lanes: each process has its own, or all see the same
LIVE, QUEUE = "tintype_model_live", "tintype_queue_depth"
# Of a process only what can be added up; times of start and sizes of address spaces cannot.
PROCESS = ("resident_memory_bytes", "open_fds", "cpu_seconds")

Key = tuple[str, str, tuple[tuple[str, str], ...]]  # of a value: its family, its sample, its labels

log = logging.getLogger(__name__)


class State(NamedTuple):
    """What a process can say of itself at this moment."""

    models: Sequence[Mapping[str, Any]] = ()  # {"name", "version", "sha256", "variant"} of each that is loaded
    queue_depth: int | None = None  # pictures that wait; None: not known here
    lane: str = MEMORY
    workers: int = 0  # 1 in a process that holds an engine


class Snapshot(NamedTuple):
    """The text of one process, as it was last heard of."""

    text: str
    alive: bool = True
    worker: str = ""  # the label of a process that is not one of this server's own


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposition(requests: RequestMetrics | None, engine: EngineStats | None, state: State) -> str:
    """What this process says of itself; a worker without HTTP has no `requests`, a web process may have no `engine`."""
    families = [*(requests.families() if requests else ()), *(engine.families() if engine else ())]
    return as_text([*families, *_state(state), *_process()])


def merged(snapshots: Mapping[str, Snapshot]) -> str:
    """The sum of many processes' texts.

    Counters and histograms of the dead are in it, for a counter must not fall; gauges are those of the living. What
    every process sees the same of (a live model, a queue in Redis) is not added up. The series of workers keep the
    worker's name, so that one that is never heard of again takes no other's counts with it.

    Args:
        snapshots: by any name that is unique; a text that cannot be read is left out, and logged.
    """
    families: dict[str, Metric] = {}
    values: dict[Key, float] = {}
    for source, snapshot in snapshots.items():
        try:
            told = list(text_string_to_metric_families(snapshot.text))
        except ValueError as error:
            log.warning("the metrics of %s cannot be read: %s", source, error)
            continue
        for family in told:
            if snapshot.alive or family.type != "gauge":
                families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                _add(family, snapshot.worker, values)
    for (name, sample, labels), value in values.items():
        families[name].samples.append(Sample(sample, dict(labels), value))
    return as_text(families.values())


def _add(family: Metric, worker: str, values: dict[Key, float]) -> None:
    named = (("worker", worker),) if worker else ()
    for sample in family.samples:
        key = family.name, sample.name, (*sample.labels.items(), *named)
        if family.name == LIVE or sample.labels.get("lane") == SHARED:
            values[key] = max(values.get(key, 0.0), sample.value)
        else:
            values[key] = values.get(key, 0.0) + sample.value


def _state(state: State) -> list[Metric]:
    live = GaugeMetricFamily(
        LIVE, "1 for each version that can answer now.", labels=("model", "version", "variant", "sha256")
    )
    for model in state.models:
        sha256 = model["sha256"][:SHA256_SHOWN]
        live.add_metric((model["name"], str(model["version"]), model["variant"], sha256), 1)
    depth = GaugeMetricFamily(QUEUE, "Pictures that wait for an engine.", labels=("lane",))
    if state.queue_depth is not None:
        depth.add_metric((state.lane,), state.queue_depth)
    return [live, depth, GaugeMetricFamily("tintype_workers", "Processes that hold an engine.", state.workers)]


def _process() -> list[Metric]:
    wanted = {f"tintype_process_{name}" for name in PROCESS}
    collector = ProcessCollector(namespace="tintype", registry=None)
    return [family for family in collector.collect() if family.name in wanted]


def as_text(families: Iterable[Metric]) -> str:
    """Families in the format of a scrape."""
    return generate_latest(_Families(families)).decode()
