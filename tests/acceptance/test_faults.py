"""Servers, workers and Redis die, stop and come back under load; the clients count every answer.

FAULTS: rounds of each; FAULTS_SEED: repeat the moments of a run.
"""

import http.client
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from functools import partial

import psutil
import pytest

from artifacts import settings
from serving.queue import BATCH, celery_app
from tests.deployment import until
from tests.load import Load

ROUNDS = int(os.environ.get("FAULTS", "5"))
SEED = int(os.environ.get("FAULTS_SEED", str(time.time_ns() % 1_000_000)))
DEADLINE = 4.0  # seconds, where a test sets it
SLACK = 2.0  # seconds beyond the deadline that a busy machine may take to send an answer
RESTARTS = 20
TASKS = f"tintype:celery:{BATCH}"  # where Celery keeps them
RECOVERY = 5.0  # seconds after which a restarted Redis must carry answers again
LOOK_SECONDS = 0.1  # between two looks of a client at who is ready
UNAVAILABLE = {(200, ""), (503, "no_model"), (504, "deadline_exceeded")}


@pytest.fixture
def moments(tell):
    tell(f"FAULTS={ROUNDS} FAULTS_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture
def start(deploy):
    """A deployment with a server and workers, all ready."""

    def started(workers=2, **settings):
        deployment = deploy(**settings)
        found = [deployment.worker() for _ in range(workers)]
        server = deployment.server()
        deployment.until_ready(server, workers)
        return deployment, server, found

    return started


def replies(deployment):
    """Answers that workers have written since Redis was started."""
    with deployment.redis.client() as client:
        return client.info("commandstats").get("cmdstat_rpush", {"calls": 0})["calls"]


def left(deployment):
    """Keys that should be gone when nobody asks any more."""
    with deployment.redis.client() as client:
        assert client.xlen("tintype:online") == 0
        return {key.decode() for key in client.scan_iter("tintype:[or]*")} - {"tintype:online"}


def check_all_answered(load, deployment, tell):
    """Every request has its own answer, and no answer was written twice."""
    assert load.statuses() == {(200, ""): len(load.outcomes)}
    assert not load.wrong()
    assert replies(deployment) == len(load.outcomes)
    assert left(deployment) == set()
    tell(f"{len(load.outcomes)} requests, all answered once; the slowest took {slowest(load):.2f} s")


def check_bounded(load, tell):
    """Every request was answered rightly or refused, in time."""
    assert set(load.statuses()) <= UNAVAILABLE
    assert not load.wrong()
    assert slowest(load) < DEADLINE + SLACK
    tell(f"{len(load.outcomes)} requests: {dict(load.statuses())}; the slowest took {slowest(load):.2f} s")


def catch_at_work(deployment, worker):
    """Stop a worker at a moment at which it has requests in hand; how many."""
    with deployment.redis.client() as client:
        while True:
            worker.send(signal.SIGSTOP)
            until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED, 10, "it runs on", 0.001)
            found = client.xpending_range("tintype:online", "engines", "-", "+", 100, worker.name)
            if found:
                return len(found)
            worker.send(signal.SIGCONT)
            time.sleep(0.001)


def has_loaded(worker):
    return "holds" in worker.log()


def until_at_work(worker):
    before = len(worker.answered())
    until(lambda: len(worker.answered()) > before, 30, f"{worker.name} does not work")


def slowest(load):
    return max(each.seconds for each in load.outcomes)


def test_kill_9_of_one_worker_of_two_loses_no_request(start, known, moments, tell):
    deployment, server, workers = start()
    lost = 0
    with Load(lambda: server.port, known) as load:
        for number in range(ROUNDS):
            time.sleep(moments.uniform(0.2, 1.5))
            victim = workers.pop(moments.randrange(2))
            lost += 0 if number % 3 == 2 else catch_at_work(deployment, victim)
            victim.stop(signal.SIGKILL)
            workers.append(deployment.worker())
            until_at_work(workers[-1])
    check_all_answered(load, deployment, tell)
    tell(f"at least {lost} requests were in the hands of those that were killed")


def test_without_a_worker_every_request_is_refused_in_time_until_one_is_back(deploy, known, moments, tell):
    deployment = deploy(TINTYPE_DEADLINE_MS=str(round(1000 * DEADLINE)))
    worker, server = deployment.worker(name="only"), deployment.server()
    deployment.until_ready(server)
    with Load(lambda: server.port, known) as load:
        for number in range(ROUNDS):
            time.sleep(moments.uniform(0.2, 1))
            worker.stop(signal.SIGKILL)
            died = time.monotonic()
            time.sleep(moments.uniform(0, 2 * DEADLINE) if number else DEADLINE + SLACK)
            began = time.monotonic()
            worker = deployment.worker(name="only")  # it finds what it had taken under this name
            loaded = until(partial(has_loaded, worker), 30, "the new worker does not load", 0.005)
            answered = load.until_answered(began, 30)
            tell(f"{began - died:.1f} s without a worker; answers {answered:.2f} s after the start of a new one, "
                 f"{answered - loaded:.2f} s after it had loaded the model")  # fmt: skip
    check_bounded(load, tell)
    assert {status for status, _ in load.statuses()} == {200, 503, 504}


def test_twenty_restarts_of_redis_are_survived_within_seconds(start, known, moments, tell):
    deployment, server, workers = start(TINTYPE_DEADLINE_MS=str(round(1000 * DEADLINE)))
    recoveries = []
    with Load(lambda: server.port, known) as load:
        for number in range(RESTARTS):
            time.sleep(moments.uniform(0.3, 1.5))
            deployment.redis.stop((signal.SIGTERM, signal.SIGKILL)[number % 2])
            time.sleep(moments.choice((0, moments.uniform(0, 3))))
            deployment.redis.start()
            recoveries.append(load.until_answered(time.monotonic(), 30))
        tell(f"answers after {', '.join(f'{each:.2f}' for each in recoveries)} s")
        for worker in workers:
            until_at_work(worker)
    assert max(recoveries) < RECOVERY
    check_bounded(load, tell)
    until(lambda: not left(deployment), 10, f"{left(deployment)} is left")
    send_task(deployment)
    with deployment.redis.client() as client:
        tell(f"a task is taken after {until(lambda: not client.exists(TASKS), 60, 'nobody takes tasks'):.1f} s")


def send_task(deployment):
    """One that no worker knows: whoever takes it throws it away."""
    app = celery_app(settings.read({"TINTYPE_REDIS_URL": deployment.redis.url}))
    app.send_task("nobody.knows", queue=BATCH)
    app.pool.force_close_all()


def test_a_redis_that_hangs_lets_nobody_wait_beyond_the_deadline(start, known, tell):
    deployment, server, _ = start(TINTYPE_DEADLINE_MS=str(round(1000 * DEADLINE)))
    with Load(lambda: server.port, known) as load:
        for _ in range(2):
            time.sleep(1)
            deployment.redis.process.send_signal(signal.SIGSTOP)
            time.sleep(3 * DEADLINE)
            deployment.redis.process.send_signal(signal.SIGCONT)
            tell(f"answers after {load.until_answered(time.monotonic(), RECOVERY):.2f} s")
    check_bounded(load, tell)


def test_a_worker_that_stands_still_loses_no_request(start, known, moments, tell):
    deployment, server, (still, other) = start()
    with Load(lambda: server.port, known) as load:
        for _ in range(ROUNDS):
            time.sleep(moments.uniform(0.5, 1))
            still.send(signal.SIGSTOP)
            time.sleep(moments.uniform(3, 6))
            still.send(signal.SIGCONT)
            until_at_work(still)
            still, other = other, still
    check_all_answered(load, deployment, tell)
    twice = sum(count - 1 for count in Counter(still.answered() + other.answered()).values())
    tell(f"{twice} requests were run twice, and answered once")


def test_kill_9_of_a_web_process_breaks_its_own_connections_alone(start, known, moments, tell):
    _, server, _ = start(workers=1)
    kills = []  # (moment, the clients' ends of the connections of the other process)
    with Load(lambda: server.port, known) as load:
        for _ in range(ROUNDS):
            time.sleep(moments.uniform(0.5, 1))
            others = server.web_processes()
            victim = others.pop(moments.choice(sorted(others)))
            kills.append((time.monotonic(), set().union(*map(peers, others.values()))))
            victim.kill()
            tell(f"another one is there after {until(partial(replaced, server, victim), 20, 'none came'):.2f} s")
    failed = [each for each in load.outcomes if each.status == 0]
    assert {each.status for each in load.outcomes} == {0, 200}
    assert not load.wrong()
    assert max(Counter(each.port for each in failed).values()) == 1
    for each in failed:
        _, spared = max((moment, ports) for moment, ports in kills if moment < each.ended)
        assert each.port not in spared
    tell(f"{len(load.outcomes)} requests; {len(failed)} failed, one on each connection of those that were killed")


def replaced(server, victim):
    """Whether two web processes are at work, and neither is the victim."""
    serving = [pid for pid, each in server.web_processes().items() if peers(each)]  # with Redis at least
    return len(serving) == 2 and victim.pid not in serving


def peers(process):
    """The ports at the other ends of a process's connections; none of one that has ended."""
    try:
        return {each.raddr.port for each in process.net_connections("tcp") if each.raddr}
    except psutil.NoSuchProcess:
        return set()


def test_kill_9_of_a_server_leaves_nothing_behind_and_it_can_be_started_again(start, known, tell):
    deployment, server, _ = start(workers=1)
    with Load(lambda: server.port, known) as load:
        for _ in range(ROUNDS):
            time.sleep(0.5)
            family = server.family()
            server.stop(signal.SIGKILL)
            psutil.wait_procs(family, timeout=10)
            assert not [each for each in family if each.is_running()]
            began = time.monotonic()
            server = deployment.server(port=server.port)
            tell(f"answers {load.until_answered(began, 30):.2f} s after the start of a new server")
    assert {status for status, _ in load.statuses()} <= {0, 200, 503}
    assert not load.wrong()
    until(lambda: not left(deployment), 70, f"{left(deployment)} is left")


def test_a_worker_that_is_told_to_stop_loses_no_request(start, known, moments, tell):
    deployment, server, workers = start()
    with Load(lambda: server.port, known) as load:
        for _ in range(ROUNDS):
            time.sleep(moments.uniform(0.2, 1))
            leaving = workers.pop(0)
            began = time.monotonic()
            assert leaving.stop() == 0
            tell(f"it ended after {time.monotonic() - began:.2f} s")
            assert len(deployment.names()) == 1
            workers.append(deployment.worker())
            until_at_work(workers[-1])
    check_all_answered(load, deployment, tell)


class Chooser:
    """Asks for readiness all the time, as a load balancer does, and says whom to ask."""

    def __init__(self, *servers):
        self.servers = list(servers)
        self._ready = [each.port for each in servers]
        self._turns = itertools.count()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="chooser")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def __call__(self):
        ready = self._ready
        return ready[next(self._turns) // 10 % len(ready)]

    def ready(self, server):
        return server.port in self._ready

    def _look(self):
        while not self._over.wait(LOOK_SECONDS):
            self._ready = [each.port for each in self.servers if readiness(each) == 200]


def readiness(server):
    """The status of /health/ready on a new connection; 0 when none is taken."""
    try:
        return server.client.get("/health/ready")[0]
    except (OSError, http.client.HTTPException):
        return 0


def test_a_server_that_is_told_to_stop_fails_no_request(deploy, known, moments, tell):
    deployment = deploy(TINTYPE_DRAIN_MS="1500")
    deployment.worker()
    servers = [deployment.server(), deployment.server()]
    for each in servers:
        deployment.until_ready(each)
    with Chooser(*servers) as choose, Load(choose, known) as load:
        for number in range(ROUNDS):
            time.sleep(moments.uniform(0.2, 1))
            leaving = choose.servers[0]
            for each in leaving.web_processes().values() if number % 2 else ():  # as service managers do besides
                each.terminate()
            began = time.monotonic()
            assert leaving.stop() == 0
            tell(f"it ended after {time.monotonic() - began:.2f} s")
            choose.servers = [choose.servers[1], deployment.server()]
            until(partial(choose.ready, choose.servers[1]), 30, "the new server is not ready")
    check_all_answered(load, deployment, tell)


def test_it_says_that_it_is_not_ready_before_it_refuses_connections(start, known, tell):
    drain = 1.5
    _, server, _ = start(workers=1, TINTYPE_DRAIN_MS=str(round(1000 * drain)))
    server.send(signal.SIGTERM)
    looks = []
    with Load(lambda: server.port, known, clients=1, pause=0) as load:
        while not looks or looks[-1][1]:
            looks.append((time.monotonic(), readiness(server)))
    statuses = [status for _, status in looks]
    assert statuses == sorted(statuses, key=(200, 503, 0).index)
    unready, refused = looks[statuses.index(503)][0], looks[-1][0]
    tell(f"it was not ready for {refused - unready:.2f} s, in {statuses.count(503)} looks, before it refused")
    assert refused - unready > drain / 2
    assert {each.status for each in load.outcomes if each.ended < unready + drain / 2} == {200}
