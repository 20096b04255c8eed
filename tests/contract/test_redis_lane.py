"""What the lane between machines promises besides: nothing is lost or answered twice, whoever dies."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from serving.engine.batching import Only, Ready, Runner
from serving.engine.engine import Engine
from serving.errors import DeadlineExceeded, NoModel, Poisoned, QueueFull
from serving.lanes.redis import link
from serving.lanes.redis.mailbox import Mailbox, RedisLane
from serving.lanes.redis.puller import TRIES, Puller
from serving.telemetry.stats import EngineStats
from tests.redis_server import RedisServer

FAR = 30.0
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


def tone(value, count=1):
    return np.full((count, 2, 2, 3), value, np.uint8)


def seen(answer):
    return np.rint(answer.probabilities[:, 1] * 255).astype(int).tolist()


def soon(seconds=FAR):
    return time.monotonic() + seconds


@pytest.fixture
def web(redis_server):
    """Web processes' ends of the lane."""
    boxes = []

    def made(depth=1000, server=redis_server):
        boxes.append(Mailbox(link.connect(server.url_of("api")), depth))
        return RedisLane(boxes[-1], TONES)

    yield made
    for box in boxes:
        box.close()


class Worker:
    """A worker's end of the lane: silent from its death on, as after a kill -9."""

    def __init__(self, server, name):
        self.stats = EngineStats()
        self.client = link.connect(server.url_of("worker"))
        self.puller = Puller(self.client, name, self.stats, lambda: "")
        self.engine = None

    def work(self, runtime):
        self.engine = Engine(self.puller, Runner(Only(Ready("tones@1", "fp32", 4, runtime.run)), self.stats))
        return self

    def die(self):
        """Stop giving signs of life, with what was taken unanswered."""
        self.puller._closed.set()
        self.puller._held.clear()
        self.puller._keeper.join()

    def end(self):
        if self.engine:
            self.engine.close()
        self.puller.close()


@pytest.fixture
def worker(redis_server):
    workers = []

    def made(name, server=redis_server):
        workers.append(Worker(server, name))
        return workers[-1]

    yield made
    for each in workers:
        each.end()


@pytest.fixture
def alive(eventually):
    """Wait until a web process has seen a worker."""

    def seen_by(lane):
        eventually(lambda: lane._mailbox.workers > 0)
        return lane

    return seen_by


@pytest.fixture
def clients():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def keys(server):
    with server.client() as client:
        return {key.decode() for key in client.scan_iter()}


def test_no_worker_is_said_at_once(web):
    lane = web()
    began = time.monotonic()
    with pytest.raises(NoModel, match="no worker is alive; start one: tintype worker"):
        lane.predict(tone(1), soon())
    assert time.monotonic() - began < FAR / 2


def test_no_redis_is_said(web, redis_server, worker, alive, eventually):
    worker("a")
    lane = alive(web())
    redis_server.stop(signal.SIGKILL)
    try:
        eventually(lambda: not lane._mailbox.workers)
        with pytest.raises(NoModel, match="Redis does not answer"):
            lane.predict(tone(1), soon())
    finally:
        redis_server.start()


def test_what_a_dead_worker_took_is_claimed_by_another(web, worker, alive, clients, brightness):
    dead, other = worker("dead"), worker("other")
    lane = alive(web())
    futures = [clients.submit(lane.predict, tone(value, 2), soon()) for value in range(6)]
    taken = []
    while sum(len(each.pixels) for each in taken) < 12:
        taken += dead.puller.take(12)
    dead.die()
    other.work(brightness)
    assert [seen(each.result(FAR)) for each in futures] == [[value] * 2 for value in range(6)]
    assert other.stats.claimed == 6


def test_a_worker_that_comes_back_reads_its_own_pending_first(web, worker, alive, clients):
    first = worker("same")
    lane = alive(web())
    future = clients.submit(lane.predict, tone(7), soon())
    (taken,) = first.puller.take(4)
    first.die()
    clients.submit(lane.predict, tone(8), soon())
    again = worker("same")
    (own,) = again.puller.take(4)
    assert (own.request_id, own.pixels.max(), own.entry) == (taken.request_id, 7, taken.entry)
    again.work(type("Runtime", (), {"run": staticmethod(lambda pixels: np.ones((len(pixels), 2), np.float32))}))
    again.puller.finish([(own, DeadlineExceeded("told"))])
    with pytest.raises(DeadlineExceeded, match="told"):
        future.result(FAR)


def test_a_request_that_kills_its_workers_is_given_up(web, worker, alive, clients, brightness):
    lane = None
    for number in range(TRIES):
        victim = worker(f"victim-{number}")
        if lane is None:
            lane = alive(web())
            poison = clients.submit(lane.predict, tone(66), soon())
            harmless = clients.submit(lane.predict, tone(5), soon())
        while (request := victim.puller.take(1)[0]).pixels.max() != 66:
            victim.puller.finish([(request, NoModel("not this one"))])
        victim.die()
    last = worker("last").work(brightness)
    with pytest.raises(Poisoned, match=f"{TRIES} workers died of this request"):
        poison.result(FAR)
    with pytest.raises(NoModel, match="not this one"):
        harmless.result(FAR)
    assert last.stats.poisoned == 1


def test_those_who_shared_a_batch_with_a_killer_are_answered(web, worker, alive, clients, brightness):
    first = worker("first")
    lane = alive(web())
    futures = {value: clients.submit(lane.predict, tone(value), soon()) for value in (1, 2, 66, 3)}
    taken = []
    while len(taken) < 4:
        taken += first.puller.take(4 - len(taken))
    first.die()
    for number in range(TRIES - 1):
        victim = worker(f"victim-{number}")
        while (request := victim.puller.take(4)[0]).pixels.max() != 66:
            victim.puller.finish([(request, NoModel("it was served"))])
        victim.die()
    worker("last").work(brightness)
    with pytest.raises(Poisoned):
        futures.pop(66).result(FAR)
    for future in futures.values():
        with pytest.raises(NoModel, match="it was served"):
            future.result(FAR)


def test_a_worker_that_was_only_slow_does_not_answer_twice(web, worker, alive, clients, redis_server):
    slow, quick = worker("slow"), worker("quick")
    lane = alive(web())
    future = clients.submit(lane.predict, tone(1), soon())
    (request,) = slow.puller.take(1)
    slow.die()
    (claimed,) = quick.puller.take(1)
    quick.puller.finish([(claimed, NoModel("quick"))])
    slow.puller.finish([(request, NoModel("slow"))])
    with pytest.raises(NoModel, match="quick"):
        future.result(FAR)
    with redis_server.client() as client:
        assert client.xlen(link.STREAM) == 0
        assert not client.keys(link.REPLIES + "*")


def test_a_long_batch_keeps_its_lease(web, worker, alive, clients, brightness):
    class Slow:
        def run(self, pixels):
            time.sleep(1.5 * link.LEASE)
            return brightness.run(pixels)

    slow, other = worker("slow"), worker("other")
    lane = alive(web())
    future = clients.submit(lane.predict, tone(9), soon())
    slow.work(Slow())
    while not slow.puller._held:
        time.sleep(0.01)
    other.work(brightness)
    assert seen(future.result(FAR)) == [9]
    assert other.stats.claimed == 0


def test_a_worker_that_closes_leaves_what_waits_to_the_others(web, worker, alive, clients, brightness, redis_server):
    entered, gate = threading.Event(), threading.Event()

    class Gated:
        def run(self, pixels):
            entered.set()
            assert gate.wait(FAR)
            return brightness.run(pixels)

    leaving = worker("leaving").work(Gated())
    lane = alive(web())
    futures = [clients.submit(lane.predict, tone(1, 4), soon())]
    assert entered.wait(FAR)
    futures += [clients.submit(lane.predict, tone(value, 2), soon()) for value in range(2, 9)]
    closing = clients.submit(leaving.engine.close)
    gate.set()
    closing.result(FAR)
    leaving.puller.leave()
    with redis_server.client() as client:
        assert [each["name"] for each in client.xinfo_consumers(link.STREAM, link.GROUP)] == []
    worker("staying").work(brightness)
    assert [seen(each.result(FAR)) for each in futures] == [[1] * 4, *([value] * 2 for value in range(2, 9))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_requests_survive_a_restart_of_redis(web, worker, alive, clients, brightness, tmp_path, number):
    server = RedisServer(tmp_path).start()
    try:
        lane = web(server=server)
        holder = worker("holder", server)
        alive(lane)
        waiting = [clients.submit(lane.predict, tone(value), soon()) for value in range(8)]
        taken = holder.puller.take(1)
        server.stop(number)
        server.start()
        holder.puller.finish([(request, NoModel("answered after the restart")) for request in taken])
        holder.work(brightness)
        answers = []
        for each in waiting:
            try:
                answers.append(seen(each.result(FAR)))
            except NoModel as error:
                answers.append(str(error))
        mine = [int(request.pixels.max()) for request in taken]
        assert [value for value, answer in enumerate(answers) if answer != [value]] in ([], mine)
        lane._mailbox.close()
        holder.end()
    finally:
        server.stop(signal.SIGKILL)


def test_requests_survive_the_loss_of_all_that_redis_held(web, worker, alive, clients, brightness, redis_server):
    idle = worker("idle")
    lane = alive(web())
    future = clients.submit(lane.predict, tone(4), soon())
    idle.puller.take(1)
    idle.die()
    redis_server.stop(signal.SIGKILL)
    redis_server.start()
    redis_server.flush()
    worker("next").work(brightness)
    assert seen(future.result(FAR)) == [4]


def test_the_depth_is_shared_by_all_web_processes(web, worker, alive, clients):
    worker("idle")
    one, two = alive(web(depth=4)), alive(web(depth=4))
    waiting = clients.submit(one.predict, tone(1, 3), soon(2))
    while one._mailbox.waiting != 3:
        time.sleep(0.01)
    with pytest.raises(QueueFull, match="3 pictures wait already, of at most 4; try again soon"):
        two.predict(tone(2, 2), soon())
    with pytest.raises(DeadlineExceeded):
        waiting.result(FAR)


def test_nothing_stays_in_redis(web, worker, alive, clients, brightness, redis_server):
    worker("a").work(brightness)
    lane = alive(web())
    futures = [clients.submit(lane.predict, tone(value), soon()) for value in range(100)]
    assert [seen(each.result(FAR)) for each in futures] == [[value] for value in range(100)]
    assert keys(redis_server) <= {link.STREAM, link.WORKERS, link.STATUS + "a"}
    with redis_server.client() as client:
        assert client.xlen(link.STREAM) == 0


def test_an_entry_that_is_no_request_is_dropped(web, worker, alive, brightness, redis_server, caplog):
    worker("a").work(brightness)
    lane = alive(web())
    with redis_server.client() as client:
        client.xadd(link.STREAM, {"n": 1, "m": "nonsense"})
    assert seen(lane.predict(tone(3), soon())) == [3]
    assert "is no request of this lane" in caplog.text
