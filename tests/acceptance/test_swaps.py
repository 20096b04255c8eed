"""Fifty deploys and rollbacks, back to back, under sixteen connections: no request fails, and no answer mixes two."""

import shutil

import numpy as np
import psutil
import pytest

from tests import swaps
from tests.deployment import Deployment, undelayed_redis, until
from tests.real import Home

TIMES = 50


@pytest.mark.parametrize("workers", [0, 1], ids=["embedded", "workers"])
def test_fifty_swaps_under_load_fail_no_request(digits, tmp_path, tell, workers):
    shutil.copytree(digits.path / "models", tmp_path / "home" / "models")
    store = swaps.home_store(Home(tmp_path / "home"))
    redis = undelayed_redis(tmp_path / "redis").start() if workers else None
    deployment = Deployment(Home(tmp_path / "home"), redis, tmp_path)
    try:
        for _ in range(workers):
            deployment.worker()
            deployment.until_alive(workers)
        server = deployment.server()
        until(lambda: server.client.get("/health/ready")[0] == 200, 60, "it is not ready")
        with swaps.Asking(server.port, store) as asking:
            until(lambda: asking.latest() == {1}, 60, "nothing is answered")
            before = megabytes(deployment)
            took = swaps.swap(store, asking, TIMES)
            after = megabytes(deployment)
        assert asking.failed() == []
        assert len({each.version for each in asking.answered}) == TIMES // 2 + 1
        tell(
            f"{TIMES} swaps, {len(asking.answered):,} requests, none failed; a swap is served after "
            f"{np.median(took):.2f} s (median), {max(took):.2f} s at most; MB of each process: {before} -> {after}"
        )
    finally:
        deployment.end()
        if redis:
            redis.stop()


def megabytes(deployment):
    """Resident memory of what answers."""
    processes = [each for program in deployment.programs for each in program.family()]
    sizes = []
    for each in processes:
        try:
            sizes.append(each.memory_info().rss // 1_000_000)
        except psutil.NoSuchProcess:
            continue
    return sizes
