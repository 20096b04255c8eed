"""Odd and broken pictures of the public corpora as a folder job: a row or a reject with a reason for each of them.

No worker dies of them and none of its decoders, memory stays bounded, and nothing takes over ten seconds.
"""

import csv
import io
import json
import shutil
import threading
import time
from contextlib import ExitStack, suppress

import psutil
import pytest

from artifacts import pixels
from artifacts.errors import BadPicture
from tests.real import Home, serving
from tests.redis_server import RedisServer

FAR = 600  # seconds that the job may take on a busy machine
LONGEST = 10.0  # seconds of processor time for one file
MOST = 2_000_000_000  # bytes: a decoder takes 600 MB for a picture of 40 megapixels with alpha, and there is one a core


@pytest.fixture
def redis_server(tmp_path):
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.stop()


class Watched:
    """A process and its children: the most memory that they took, and which there were."""

    def __init__(self, pid):
        self._process, self.most, self.pids = psutil.Process(pid), 0, set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.wait(0.1):
            taken = 0
            for each in [self._process, *self._process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    taken += each.memory_info().rss
                    if "spawn_main" in " ".join(each.cmdline()):
                        self.pids.add(each.pid)
            self.most = max(self.most, taken)


def test_every_malformed_file_has_its_row_and_nothing_dies_of_it(digits, redis_server, unpacked, tmp_path, tell):
    folder = unpacked("malformed_a")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    home = Home(tmp_path / "home")
    shutil.copytree(digits.path / "models", home.path / "models")
    home.environment |= {"TINTYPE_FOLDERS": str(folder.parent), "TINTYPE_REDIS_URL": redis_server.url}
    with ExitStack() as stack:
        worker = home.start("worker")
        stack.callback(worker.communicate, timeout=60)
        stack.callback(worker.terminate)
        _, client = stack.enter_context(serving(home))
        watched = stack.enter_context(Watched(worker.pid))
        body = json.dumps({"folder": folder.name}).encode()
        status, _, answer = client.request("POST", "/jobs", body, Content_Type="application/json")
        assert status == 202, answer
        name, began = json.loads(answer)["id"], time.monotonic()
        while (told := client.get(f"/jobs/{name}")[1])["status"] in ("queued", "running"):
            assert time.monotonic() - began < FAR, told
            time.sleep(0.2)
        seconds = time.monotonic() - began
        assert worker.poll() is None
        table = client.request("GET", f"/jobs/{name}/results")[2].decode()
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert (told["status"], told["total"], told["hidden"]) == ("succeeded", len(files), 0)
    assert sorted(row["path"] for row in rows) == files
    assert all(bool(row["label"]) != bool(row["error"]) for row in rows)
    rejected = [row["error"] for row in rows if row["error"]]
    assert len(rejected) == told["rejected"] > 200
    assert all(": " in error for error in rejected)
    assert not [error for error in rejected if error.startswith("poisoned")]
    decoders = len(watched.pids)
    assert decoders <= psutil.cpu_count()  # none died, so none had to be started again
    assert watched.most < MOST
    longest, path = max((seconds_of(folder / path), path) for path in files)
    assert longest < LONGEST
    tell(f"{len(files)} files: {len(rows) - len(rejected)} classified, {len(rejected)} refused in {seconds:.0f} s")
    tell(f"at most {watched.most / 1e6:.0f} MB of a worker and {decoders} decoders; longest {longest:.2f} s: {path}")


def seconds_of(path):
    """Of processor time, to decode a file."""
    data, began = path.read_bytes(), time.process_time()
    with suppress(BadPicture):
        pixels.decode(data, 8, 8, 1)
    return time.process_time() - began
