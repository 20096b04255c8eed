"""Two hosts hold workers, a third one the server and Redis: network namespaces, joined by cables of their own."""

import shutil
import time

import pytest

from serving.lanes.redis import link
from tests.deployment import Deployment, undelayed_redis, until
from tests.hosts import inside, ip
from tests.load import Load

SLEEP = 0.05  # seconds a picture; each of a worker's threads answers 20 of them a second, whatever the processor
SLEEPING = ("-m", "tests.sleeping_worker")
SECONDS = 15.0  # of a measurement
CLIENTS = 16
TWICE = 1.8


class Hosts:
    """A server and Redis on the host in the middle, workers on the others, which have disks of their own."""

    def __init__(self, names, digits, folder):
        self.one, self.middle, self.two = names
        for name in (self.one, self.two):
            shutil.copytree(digits.path / "models", folder / name / "models")
        self._folder = folder
        self._redis = undelayed_redis(folder / "redis", "--bind", "0.0.0.0", "--protected-mode", "no").start()  # noqa: S104
        self.deployment = Deployment(digits, self._redis, folder)
        self.server = self.deployment.server()

    def start(self, name):
        """A worker on a host."""
        address = {self.one: "10.99.1.1", self.two: "10.99.2.1"}[name]
        with inside(name):
            return self.deployment.worker(
                command=SLEEPING,
                SLEEP=str(SLEEP),
                TINTYPE_HOME=str(self._folder / name),
                TINTYPE_REDIS_URL=f"redis://{address}:{self._redis.port}/0",
            )

    def end(self):
        self.deployment.end()
        self._redis.stop()


@pytest.fixture
def deployed(hosts, digits, tmp_path):
    """The test itself is on the host in the middle."""
    with inside(hosts[1]):
        made = Hosts(hosts, digits, tmp_path)
        yield made
        made.end()


def test_two_workers_on_two_hosts_double_the_throughput_of_one(deployed, known, tell):
    rates = []
    for number, name in enumerate((deployed.one, deployed.two), 1):
        deployed.start(name)
        deployed.deployment.until_ready(deployed.server, number)
        rates.append(rate(deployed.server, known))
        tell(f"{number} workers: {rates[-1]:.1f} requests/s")
    assert rates[1] >= TWICE * rates[0]


def rate(server, known):
    """Requests a second that are answered, rightly."""
    with Load(lambda: server.port, known, CLIENTS, pause=0) as load:
        time.sleep(1 + SECONDS)
        end = time.monotonic()
    assert {each.status for each in load.outcomes} == {200}
    assert not load.wrong()
    return sum(1 for each in load.outcomes if end - SECONDS < each.ended <= end) / SECONDS


def test_no_request_is_lost_while_a_host_cannot_be_reached(deployed, known, tell):
    cut_off, _ = deployed.start(deployed.one), deployed.start(deployed.two)
    deployed.deployment.until_ready(deployed.server, 2)
    with Load(lambda: deployed.server.port, known, CLIENTS) as load:
        time.sleep(1)
        ip("-netns", deployed.one, "link", "set", "to-middle", "down")
        time.sleep(2 * link.LEASE + 4)
        ip("-netns", deployed.one, "link", "set", "to-middle", "up")
        before = len(cut_off.answered())
        back = until(lambda: len(cut_off.answered()) > before, 30, "it works no more")
    assert load.statuses() == {(200, ""): len(load.outcomes)}
    assert not load.wrong()
    slowest = max(each.seconds for each in load.outcomes)
    tell(f"{len(load.outcomes)} requests, all answered; the slowest took {slowest:.2f} s")
    tell(f"the worker that was cut off works again {back:.1f} s after it can")
