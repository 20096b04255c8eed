"""No request fails while versions change, and no answer mixes two: tests/acceptance has it fifty times."""

import shutil

import pytest

from tests import swaps
from tests.deployment import Deployment, undelayed_redis, until
from tests.real import Home

TIMES = 4


@pytest.mark.parametrize("workers", [0, 1], ids=["embedded", "workers"])
def test_requests_are_answered_while_versions_change_under_load(home, tmp_path, workers):
    shutil.copytree(home.path / "models", tmp_path / "home" / "models")
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
            swaps.swap(store, asking, TIMES)
        assert asking.failed() == []
        assert len({each.version for each in asking.answered}) == TIMES // 2 + 1
    finally:
        deployment.end()
        if redis:
            redis.stop()
