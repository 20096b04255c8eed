"""Canaries behind Redis and two workers: as tests/integration has it for one process."""

from artifacts.pictures import Pictures
from artifacts.store import Store
from tests import candidates
from tests.deployment import Deployment, undelayed_redis
from tests.real import Home

SECONDS = 60.0


def test_behind_workers_bad_candidates_are_taken_back_and_a_good_one_is_promoted(digits, tmp_path):
    version = digits.path / "models" / "digits" / "1"
    store = Store(tmp_path / "home" / "models")
    candidates.publish(store, version)
    candidates.begin_with_damage(store)
    redis = undelayed_redis(tmp_path / "redis").start()
    deployment = Deployment(Home(tmp_path / "home"), redis, tmp_path)
    try:
        for _ in range(2):
            deployment.worker(command=(*candidates.PROGRAM, "worker"))
        deployment.until_alive(2)
        server = deployment.server(command=(*candidates.PROGRAM, "serve"))
        deployment.until_ready(server, 2)
        candidates.watch(store, server.client, Pictures.load(version / "golden.npz").encoded[0], SECONDS)
    finally:
        deployment.end()
        redis.stop()
