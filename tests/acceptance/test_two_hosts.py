"""Two hosts hold workers, a third one the server and Redis: network namespaces, joined by cables of their own."""

import ctypes
import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest

from tests.deployment import Deployment, undelayed_redis
from tests.load import Load

NEW_NETWORK = 0x40000000  # CLONE_NEWNET, linux/sched.h
SLEEP = 0.05  # seconds a picture; each of a worker's threads answers 20 of them a second, whatever the processor
SLEEPING = ("-m", "tests.sleeping_worker")
SECONDS = 8.0  # of a measurement
CLIENTS = 16
TWICE = 1.8


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def inside(host):
    """Within it this thread, and whatever it starts, has the network of a host."""
    enter = ctypes.CDLL(None, use_errno=True).setns
    before, there = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/run/netns/{host}"))
    try:
        if enter(there, NEW_NETWORK):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        yield
    finally:
        enter(before, NEW_NETWORK)
        os.close(before)
        os.close(there)


@pytest.fixture
def hosts():
    """Three names of hosts. The second one has the address 10.99.1.1 for the first, 10.99.2.1 for the third."""
    one, middle, two = names = [f"tintype-{os.getpid()}-{place}" for place in ("one", "middle", "two")]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-netns", name, "link", "set", "lo", "up")
        for number, name in enumerate((one, two), 1):
            near, far = f"to-{number}", "to-middle"
            ip("link", "add", near, "netns", middle, "type", "veth", "peer", "name", far, "netns", name)
            for host, end, address in ((middle, near, 1), (name, far, 2)):
                ip("-netns", host, "address", "add", f"10.99.{number}.{address}/24", "dev", end)
                ip("-netns", host, "link", "set", end, "up")
        with inside(one):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces are not allowed here: {getattr(error, 'stderr', None) or error}")
    else:
        yield names
    finally:
        for name in names:
            with suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "delete", name)


def test_two_workers_on_two_hosts_double_the_throughput_of_one(hosts, digits, known, tmp_path, tell):
    one, middle, two = hosts
    for name in (one, two):  # hosts share no disk
        shutil.copytree(digits.path / "models", tmp_path / name / "models")
    with inside(middle):
        redis = undelayed_redis(tmp_path / "redis", "--bind", "0.0.0.0", "--protected-mode", "no").start()  # noqa: S104
        deployment = Deployment(digits, redis, tmp_path)
        try:
            server = deployment.server()
            rates = []
            for number, name in enumerate((one, two), 1):
                with inside(name):
                    deployment.worker(
                        command=SLEEPING,
                        SLEEP=str(SLEEP),
                        TINTYPE_HOME=str(tmp_path / name),
                        TINTYPE_REDIS_URL=f"redis://10.99.{number}.1:{redis.port}/0",
                    )
                deployment.until_ready(server, number)
                rates.append(rate(server, known))
                tell(f"{number} workers: {rates[-1]:.1f} requests/s")
        finally:
            deployment.end()
            redis.stop()
    assert rates[1] >= TWICE * rates[0]


def rate(server, known):
    """Requests a second that are answered, rightly."""
    with Load(lambda: server.port, known, CLIENTS, pause=0) as load:
        time.sleep(1 + SECONDS)
        end = time.monotonic()
    assert {each.status for each in load.outcomes} == {200}
    assert not load.wrong()
    return sum(1 for each in load.outcomes if end - SECONDS < each.ended <= end) / SECONDS
