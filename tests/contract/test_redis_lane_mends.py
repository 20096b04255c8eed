"""What goes wrong around the lane between machines mends itself: in Redis, in a worker, in the clocks."""

import time
from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from serving.engine.batching import Only, Ready, Runner
from serving.engine.engine import Engine
from serving.errors import EngineFailed
from serving.lanes.redis import link
from serving.lanes.redis.mailbox import Mailbox, RedisLane
from serving.lanes.redis.puller import Puller, Request
from serving.telemetry.stats import EngineStats

FAR = 30.0
PICTURE = np.full((1, 2, 2, 3), 200, np.uint8)
TONES = Bundle(
    Path("/nowhere"),
    {
        "name": "tones",
        "version": 1,
        "sha256": "0" * 64,
        "variants": {"fp32": {"best_batch": 4}},
        "input": {"height": 2, "width": 2, "channels": 3},
    },
)


class Failing:
    """Models that cannot be chosen from, for a reason that nobody thought of."""

    def limit(self):
        return 4

    def of(self, _):
        raise RuntimeError("nobody thought of it")


@pytest.fixture
def work(redis_server):
    """Start a worker with these models; it ends after the test."""
    made = []

    def started(models):
        client = link.connect(redis_server.url)
        stats = EngineStats()
        made.append(Engine(Puller(client, "worker", stats, lambda: ""), Runner(models, stats)))

    yield started
    for engine in made:
        engine.close()


@pytest.fixture
def ask(redis_server, eventually):
    """Send a picture through the lane once a worker is alive."""
    mailbox = Mailbox(link.connect(redis_server.url), depth=10)

    def asked():
        eventually(lambda: mailbox.workers > 0)
        return RedisLane(mailbox, TONES).predict(PICTURE, time.monotonic() + FAR)

    yield asked
    mailbox.close()


@pytest.fixture
def tones(brightness):
    return Only(Ready("tones@1", "fp32", 4, brightness.run))


def test_what_a_dead_worker_had_not_counted_off_does_not_fill_the_queue(redis_server, work, ask, tones, eventually):
    with redis_server.client() as client:
        client.set(link.WAITING, 10)  # as many as may wait: without the mending every request is refused
        work(tones)
        eventually(lambda: not client.exists(link.WAITING))
    assert ask().batch == 1


def test_a_worker_outlives_a_redis_without_memory(redis_server, work, ask, tones, caplog, eventually):
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            work(tones)
            eventually(lambda: "Redis gives no work" in caplog.text)
        finally:
            client.config_set("maxmemory", 0)
    assert ask().batch == 1
    assert caplog.text.count("Redis gives no work") == 1


def test_a_defect_in_a_worker_is_told_to_whoever_waits(work, ask, caplog):
    work(Failing())
    for _ in range(2):
        with pytest.raises(EngineFailed, match="the worker failed on this request; its log says why"):
            ask()
    assert "nobody thought of it" in caplog.text


def test_nobody_waits_less_than_no_time_where_clocks_differ():
    fields = {
        link.MODEL: b"tones@1", link.SHA256: b"", link.SHAPE: b"2x2x3", link.PIXELS: PICTURE.tobytes(),
        link.MAILBOX: b"", link.PIECE: b"0", link.REQUEST_ID: b"", link.TTL_MS: b"500",
    }  # fmt: skip
    early, late = (Request(b"1000-0", fields, now=50.0, server_now=seconds) for seconds in (0.5, 1.2))
    assert (early.entered, early.deadline) == (50.0, 50.5)
    assert (late.entered, late.deadline) == pytest.approx((49.8, 50.3))
