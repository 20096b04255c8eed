"""A model in this process: its lane, and the engine behind it."""

import math
import os

from artifacts.bundle import Bundle
from artifacts.settings import Settings
from artifacts.speed import figures
from serving.board import Board
from serving.engine.batching import Only, Ready, Runner
from serving.engine.devices import CPU
from serving.engine.variants import ONNX, open_best
from serving.lanes.loop import LoopLane
from serving.lanes.memory import Crew, MemoryLane
from serving.telemetry.stats import EngineStats

SLOW = 200  # images a second of one core: below that, all cores for a lone request are worth a second session
LONG = 0.1  # seconds: a batch that takes longer is run by a thread of its own
ELSEWHERE = 2  # threads for a GPU or a remote host: while one batch is computed, the next is on its way


def load(bundle: Bundle, settings: Settings) -> Ready:
    """A bundle's best variant, loaded and proven on its golden pictures.

    Raises:
        BadBundle: none can be loaded.
    """
    # On a CPU, threads that each run a batch of their own beat threads that share one: no barriers in the graph.
    # TensorFlow's threads are the process's.
    cores = len(os.sched_getaffinity(0))
    variant, best_batch, runtime = open_best(bundle, settings, 1 if settings.runtime == ONNX else cores)
    rate = figures(bundle)[variant].get("images_per_second") or 0
    seconds = best_batch / rate if rate else math.inf
    ready = Ready(f"{bundle.name}@{bundle.version}", variant, best_batch, runtime.run, seconds, runtime.device)
    if settings.runtime == ONNX and runtime.device == CPU and cores > 1 and rate < SLOW:
        from serving.engine.onnx import open_onnx

        ready = ready._replace(run_alone=open_onnx(bundle, variant, threads=cores).run)
    return ready


class LocalModel:
    """One loaded version: its bundle, and the lanes to it, one for threads and one for the event loop."""

    def __init__(self, bundle: Bundle, settings: Settings, stats: EngineStats, board: Board) -> None:
        self.bundle = bundle
        self.labels = bundle.labels
        self.shape = bundle.shape
        ready = load(bundle, settings)
        self.variant = ready.variant
        crew = _crew(settings, ready)
        stats.engines = crew.callers or crew.helpers
        delay = settings.batch_delay_ms / 1000
        runner, best, depth = Runner(Only(ready), stats), ready.best_batch, settings.queue_depth
        self.lane = MemoryLane(runner.run, best, depth, crew, delay)
        self.loop_lane = LoopLane(runner.run, best, depth, board, delay) if crew.callers else None

    def held(self) -> bool:
        """It is loaded here."""
        return True

    def close(self) -> None:
        """Answer what waits, then free the model."""
        if self.loop_lane:
            self.loop_lane.close()
        self.lane.close()


def threads_for(ready: Ready, share: int) -> int:
    """Batches of one process that run at a time, where it has a share of the cores."""
    return share if ready.device == CPU else ELSEWHERE


def _crew(settings: Settings, ready: Ready) -> Crew:
    """This process's share of the cores, or all of them for a request of many pictures."""
    cores = len(os.sched_getaffinity(0))
    threads = threads_for(ready, max(1, cores // settings.api_processes))
    if ready.batch_seconds > LONG or ready.device != CPU:
        return Crew(callers=0, helpers=threads)
    return Crew(callers=threads, helpers=cores - threads)
