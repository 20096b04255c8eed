"""Folder jobs under `kill -9` at random moments, with a Redis that restarts and forgets: no row lost, none twice.

KILLS=200 rounds by default, each a kill of one of two workers; FAULTS=5 of each other disturbance. The oracle is what
`tintype classify` makes of the same folder, byte for byte.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import numpy as np
import psutil
import pytest

from artifacts.store import Store
from serving.jobs.job import Plan
from serving.jobs.leases import CLOCK, LEASE
from serving.jobs.store import Jobs, Order
from tests import runs
from tests.deployment import Deployment, undelayed_redis
from tests.hosts import inside, ip
from tests.jobs import kill_decoders
from tests.real import Home, serving
from tests.redis_server import RedisServer
from training import models

KILLS = int(os.environ.get("KILLS", "200"))
SEED = int(os.environ.get("KILLS_SEED", str(time.time_ns() % 1_000_000)))
FILES = int(os.environ.get("KILLS_FILES", "10000"))
CHUNK = 100  # files
AT_ONCE = 2  # workers
ROUNDS = int(os.environ.get("FAULTS", "5"))  # of each of the other disturbances
PATIENCE = 300  # seconds that a worker may take to end on a busy machine
SLOW, SLEEP = ("-m", "tests.sleeping_worker"), 0.03  # seconds a picture, so that there is a job to be cut off from
LIVES = 2.0  # a worker is killed within so many times what one needs from its start to its first chunk
RESULTS = ("results.csv", "results.parquet", "results.jsonl", "rejects.csv", "contact_sheet.html", "summary.json")
SHAPE, CLASSES = (16, 20, 3), 4


@pytest.fixture
def home(tmp_path):
    model = models.build("crosses-noughts", SHAPE, CLASSES, seed=0)
    training = runs.drawn(SHAPE, CLASSES, 32, seed=1)
    runs.settle(model, training)
    runs.write(tmp_path / "runs" / "tiny", model, runs.drawn(SHAPE, CLASSES, 40, seed=2), training, name="tiny")
    made = Home(tmp_path)
    made.json("export", "latest", "--precision", "fp32")
    made.json("deploy", "tiny")
    return made


@pytest.fixture
def folder(tmp_path, encode):
    """Pictures, of which no two have the same bytes, and now and then a file that is none."""
    random_pixels = np.random.default_rng(0)
    some = [encode(random_pixels.integers(0, 256, (20, 24, 3), dtype=np.uint8), "JPEG") for _ in range(50)]
    for number in range(FILES):
        place = tmp_path / "pictures" / f"{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        data = b"no picture" if number % 97 == 0 else some[number % 50] + number.to_bytes(4, "big")
        (place / f"{number:05d}.jpg").write_bytes(data)
    return tmp_path / "pictures"


@pytest.fixture
def redis_server(tmp_path):
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.stop()


class Workers:
    """Two workers that are started again when they are killed."""

    def __init__(self, home, url):
        self._home, self._url = home, url
        self.processes = [self._start() for _ in range(AT_ONCE)]

    def kill(self, place, number=signal.SIGKILL):
        process = self.processes[place]
        process.send_signal(number)
        process.communicate(timeout=PATIENCE)
        self.processes[place] = self._start()
        return process.returncode

    def has_begun(self, place):
        """Whether a worker decodes: before, while it is loading, it just dies of a SIGTERM."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.processes[place].pid).children()
            return any("spawn_main" in " ".join(each.cmdline()) for each in children)
        return False

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.communicate(timeout=PATIENCE)

    def _start(self):
        return self._home.start("worker", TINTYPE_REDIS_URL=self._url)


@pytest.fixture
def small_volume(home):
    """The jobs of a home on a volume of 6 MB; whoever may not mount one skips this."""
    place = home.path / "jobs"
    place.mkdir(exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a volume cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def order(home, folder):
    version = Store(home.path / "models").catalogue("tiny")[0]
    job = Jobs(home.path / "jobs").create(
        Order(folder, {key: version[key] for key in ("name", "version", "sha256")}, 40_000_000)
    )
    batch = version["variants"]["fp32"]["best_batch"]
    job.agree(Plan("fp32", batch, CHUNK, 10**9))
    return job


def until_a_part(home, folder, began):
    """Seconds until workers have done the first chunk of a job, which is deleted."""
    job = order(home, folder)
    wait(lambda: any(job.parts.glob("*/*.parquet")), 600)
    seconds = time.monotonic() - began
    Jobs(home.path / "jobs").cancel(job.id)
    shutil.rmtree(job.path)
    return seconds


def test_kills_at_random_moments_lose_no_row_and_double_none(home, folder, redis_server, tmp_path, capsys):
    home.json("classify", folder, "--out", tmp_path / "expected")
    expected = {name: (tmp_path / "expected" / name).read_bytes() for name in RESULTS}
    chosen = random.Random(SEED)
    began = time.monotonic()
    workers = Workers(home, redis_server.url)
    most = LIVES * until_a_part(home, folder, began)
    jobs = kills = 0
    try:
        while kills < KILLS:
            job = order(home, folder)
            while job.status() != "succeeded" and kills < KILLS:
                time.sleep(chosen.uniform(0, most))
                workers.kill(chosen.randrange(AT_ONCE))
                kills += 1
                if kills % 10 == 5:
                    redis_server.flush()
                elif kills % 10 == 0:
                    redis_server.stop(signal.SIGKILL)
                    redis_server.start()
            end = time.monotonic() + 900
            while job.status() != "succeeded":
                assert time.monotonic() < end, (job.status(), job.reason())
                time.sleep(0.1)
            for name in RESULTS:
                assert (job.path / name).read_bytes() == expected[name], f"{name}, KILLS_SEED={SEED}"
            shutil.rmtree(job.path)
            jobs += 1
    finally:
        workers.stop()
        with capsys.disabled():
            sys.stdout.write(
                f"\n{kills} kills within {most:.1f} s during {jobs} jobs of {FILES} files, KILLS_SEED={SEED}\n"
            )


def test_a_full_disk_pauses_a_job_which_goes_on_when_there_is_room(home, small_volume, folder, redis_server, tmp_path):
    home.json("classify", folder, "--out", tmp_path / "expected")
    job = order(home, folder)
    ballast = small_volume / "ballast"
    ballast.write_bytes(bytes(4_700_000))
    workers = Workers(home, redis_server.url)
    try:
        wait(lambda: job.status() == "paused")
        assert job.reason() == "the volume of the jobs has no room left"
        assert (small_volume / job.id).is_dir()
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=100m", str(small_volume)], check=True)
        wait(lambda: job.status() == "succeeded")
    finally:
        workers.stop()
    for name in RESULTS:
        assert (job.path / name).read_bytes() == (tmp_path / "expected" / name).read_bytes(), name


def wait(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.05)


@pytest.fixture
def expected(home, folder, tmp_path):
    """What an undisturbed `tintype classify` makes of the folder."""
    home.json("classify", folder, "--out", tmp_path / "expected")
    return read(tmp_path / "expected")


def read(path):
    return {name: (path / name).read_bytes() for name in RESULTS}


def count(job):
    return sum(1 for _ in job.parts.glob("*/*.parquet"))


def test_workers_that_are_stopped_beyond_their_lease_and_go_on_change_nothing(home, folder, expected, redis_server):
    chosen = random.Random(SEED)
    job = order(home, folder)
    workers = Workers(home, redis_server.url)
    try:
        for _ in range(ROUNDS):
            before = count(job)
            wait(lambda before=before: count(job) > before or job.status() == "succeeded", 600)
            place = chosen.randrange(AT_ONCE)
            workers.processes[place].send_signal(signal.SIGSTOP)
            time.sleep(LEASE + chosen.uniform(1, 3))
            workers.processes[place].send_signal(signal.SIGCONT)
        wait(lambda: job.status() == "succeeded", 900)
    finally:
        workers.stop()
    assert read(job.path) == expected, f"KILLS_SEED={SEED}"


def test_decoders_that_are_killed_again_and_again_cost_no_picture_and_no_worker(home, folder, expected, redis_server):
    job = order(home, folder)
    workers = Workers(home, redis_server.url)
    try:
        for _ in range(ROUNDS):
            before = count(job)
            wait(lambda before=before: count(job) > before or job.status() == "succeeded", 600)
            for process in workers.processes:
                kill_decoders(process.pid)
        wait(lambda: job.status() == "succeeded", 900)
        assert [process.poll() for process in workers.processes] == [None] * AT_ONCE
    finally:
        workers.stop()
    assert read(job.path) == expected


def test_workers_that_are_told_to_stop_under_load_finish_what_they_have(home, folder, expected, redis_server):
    chosen = random.Random(SEED)
    job = order(home, folder)
    workers = Workers(home, redis_server.url)
    codes = []
    try:
        for _ in range(ROUNDS):
            place = chosen.randrange(AT_ONCE)
            wait(lambda place=place: workers.has_begun(place) or job.status() == "succeeded", 600)
            if workers.has_begun(place):
                time.sleep(chosen.uniform(0, 1))
                codes.append(workers.kill(place, signal.SIGTERM))
        wait(lambda: job.status() == "succeeded", 900)
    finally:
        workers.stop()
    assert set(codes) == {0}
    assert [path.name for path in (job.path / "leases").iterdir()] == [CLOCK]
    assert read(job.path) == expected, f"KILLS_SEED={SEED}"


def test_a_server_that_is_killed_loses_no_job_and_makes_none_twice(home, folder, expected, redis_server):
    settings = {"TINTYPE_REDIS_URL": redis_server.url, "TINTYPE_FOLDERS": str(folder.parent)}
    body, headers = json.dumps({"folder": "pictures"}).encode(), {"Content_Type": "application/json"}
    names = set()
    workers = Workers(home, redis_server.url)
    try:
        for _ in range(ROUNDS):
            with serving(home, **settings) as (process, client):
                _, _, answer = client.request("POST", "/jobs", body, Idempotency_Key="the same", **headers)
                names.add(json.loads(answer)["id"])
                os.killpg(process.pid, signal.SIGKILL)
        (name,) = names
        job = Jobs(home.path / "jobs").get(name)
        wait(lambda: job.status() == "succeeded", 900)
        with serving(home, **settings) as (_, client):
            assert client.get(f"/jobs/{name}")[1]["status"] == "succeeded"
    finally:
        workers.stop()
    assert read(job.path) == expected


def test_a_host_that_is_cut_off_and_back_works_again_and_nothing_is_lost(home, folder, expected, hosts, tmp_path):
    one, middle, two = hosts
    job = order(home, folder)
    with inside(middle), ExitStack() as ending:
        redis = undelayed_redis(tmp_path / "far", "--bind", "0.0.0.0", "--protected-mode", "no").start()  # noqa: S104
        ending.callback(redis.stop)
        deployment = Deployment(home, redis, tmp_path)
        ending.callback(deployment.end)
        workers = []
        for host, address in ((one, "10.99.1.1"), (two, "10.99.2.1")):
            with inside(host):
                url = f"redis://{address}:{redis.port}/0"
                workers.append(deployment.worker(command=SLOW, SLEEP=str(SLEEP), TINTYPE_REDIS_URL=url))
        wait(lambda: count(job) >= 4, 600)
        ip("-netns", one, "link", "set", "to-middle", "down")
        time.sleep(2 * LEASE)
        before = count(job)
        wait(lambda: count(job) > before, 600)
        ip("-netns", one, "link", "set", "to-middle", "up")
        assert workers[1].stop() == 0
        assert job.status() == "running"
        wait(lambda: job.status() == "succeeded", 900)  # by the one that was cut off
    assert read(job.path) == expected
