"""A deployment of real processes: servers and workers that meet at a Redis, each with its output in files."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import psutil

from serving.lanes.redis import link
from tests.real import ROOT, Client, free_port
from tests.redis_server import RedisServer

TINTYPE = str(ROOT / "tintype.py")
END_SECONDS = 30


def undelayed_redis(folder, *options):
    """A Redis that does not wait for a busy disk. What it has written survives its death, not that of the machine."""
    folder.mkdir()
    return RedisServer(folder, "--appendfsync", "no", *options)


class Program:
    """A command of a home; its standard output and error lie in `out` and `err`."""

    def __init__(self, command, environment, stem):
        self.out, self.err = stem.with_suffix(".out"), stem.with_suffix(".err")
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=err, process_group=0)
        self.pid = self.process.pid

    @property
    def ended(self):
        return self.process.poll() is not None

    def family(self):
        """The process and those that it has started."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Its exit code, after a signal."""
        self.send(number)
        return self.process.wait(END_SECONDS)

    def log(self):
        return self.err.read_text()

    def lines(self):
        """What it printed, as JSON lines; one that is being written is left out."""
        whole, _, _ = self.out.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]


class Worker(Program):
    """`tintype worker`."""

    def __init__(self, command, environment, stem, name):
        super().__init__(command, environment, stem)
        self.name = name

    def answered(self):
        """The ids of the requests that it ran, in turn, one for each time."""
        return [each for line in self.lines() for each in line["request_ids"]]


class Server(Program):
    """`tintype serve`."""

    def __init__(self, command, environment, stem, port):
        super().__init__(command, environment, stem)
        self.client = Client(port)
        self.port = port

    def web_processes(self):
        """Those that take requests, by their numbers. (Beside them runs what multiprocessing needs.)"""
        found = {}
        for each in self.family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):  # also a zombie
                if "resource_tracker" not in " ".join(each.cmdline()):
                    found[each.pid] = each
        return found


class Deployment:
    """Starts and ends programs of one home; `settings` are those of all. Without a Redis, servers hold the models."""

    def __init__(self, home, redis, folder, **settings):
        self.home = home
        self.redis = redis
        self._folder = folder
        self._settings = {
            "TINTYPE_API_PROCESSES": "2", "TINTYPE_ACCESS_LOG": "off", **settings,
        }  # fmt: skip
        self.programs = []

    def worker(self, *arguments, name=None, command=(TINTYPE, "worker"), **settings):
        """Start a worker; `until_alive` and `until_ready` tell when it is there."""
        name = name or f"worker{len(self.programs)}"
        role = "trainer" if "train" in arguments else "worker"  # as in docker-compose.yml
        settings = {"TINTYPE_REDIS_URL": self.redis.url_of(role), **self._settings, **settings}
        return self._start(Worker, (*command, "--name", name, *arguments), settings, f"{name}-0")

    def server(self, *arguments, port=None, command=(TINTYPE, "serve"), **settings):
        """Start a server that answers when this returns, be it ready or not."""
        port = port or free_port()
        settings = {"TINTYPE_REDIS_URL": self.redis.url_of("api") if self.redis else "", **self._settings, **settings}
        server = self._start(Server, (*command, "--port", str(port), *arguments), settings, port)
        until(lambda: live(server), 60, f"{server.err} does not answer")
        return server

    def names(self):
        """The workers that are alive."""
        with contextlib.closing(self.redis.client()) as client:
            return sorted(link.alive(client))

    def until_alive(self, count):
        until(lambda: len(self.names()) == count, 60, f"there are not {count} workers")

    def until_ready(self, server, count=1):
        """All web processes of a server see a worker, and `count` workers there are."""
        self.until_alive(count)
        processes = 4 * len(server.web_processes())  # a new connection each: one process cannot have had them all
        until(lambda: {server.client.get("/health/ready")[0] for _ in range(processes)} == {200}, 60, "it is not ready")

    def end(self):
        for program in self.programs:
            if not program.ended:
                program.send(signal.SIGCONT)
                program.stop(signal.SIGKILL)

    def _start(self, kind, arguments, settings, *more):
        stem = self._folder / f"{kind.__name__.lower()}-{len(self.programs)}"
        environment = {**self.home.environment, **settings}
        program = kind([sys.executable, *arguments], environment, stem, *more)
        self.programs.append(program)
        return program


def live(server):
    assert not server.ended, server.log()
    try:
        return server.client.get("/health/live")[0] == 200
    except OSError:
        return False


def until(condition, seconds, sentence, pause=0.02):
    """Seconds until a condition holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, sentence
        time.sleep(pause)
    return time.monotonic() - began
