import json
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.routing import Map, Rule

from artifacts import settings
from artifacts.errors import WrongUse
from serving.records import Record
from serving.telemetry import sink as module
from serving.telemetry.exposition import Snapshot, State, exposition
from serving.telemetry.sink import check, open_sink
from serving.telemetry.snapshots import shared_folder
from tests.real import ROOT

RULES = Map([Rule(path, endpoint=path) for path in ("/predict", "/models/<name>", "/health/live", "/metrics")])
CLEAN = multiprocessing.get_context("forkserver")  # forks of a process without threads, unlike pytest's
CLEAN.set_forkserver_preload(["serving.telemetry.sink"])

# A process with a sink on a standard output that nobody reads; it ends as its first argument says.
UNREAD = """
import os, sys
from werkzeug.routing import Map
from artifacts import settings
from serving.records import Record
from serving.telemetry.exposition import State, exposition
from serving.telemetry.sink import open_sink
def work():
    sink = open_sink(settings.read({}), Map(), lambda requests: exposition(requests, None, State()), None, os.environ)
    sink.start()
    for number in range(20_000):
        sink.add(Record(str(number), 1.7e9, 0, "GET", "/", status=200))
    print("done", file=sys.stderr)
if sys.argv[1] == "child":
    import multiprocessing
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
work()
"""


def opened(where="off", folder=None):
    """A sink of a process that writes its access log to `where`."""
    known = settings.read({"TINTYPE_ACCESS_LOG": str(where)})
    return open_sink(known, RULES, lambda requests: exposition(requests, None, State(workers=1)), folder, {})


def answered(path="/predict", number=1, **filled):
    return [Record(f"id-{each}", 1.7e9, 0.0, "GET", path, status=200, **filled) for each in range(number)]


def add(sink, records):
    for record in records:
        sink.add(record)


def serve(folder, number):
    """Answer so many requests, and go on living."""
    sink = opened(folder=folder)
    sink.start()
    add(sink, answered(number=number))
    signal.pause()


def tell(folder, told):
    told.put(counted(opened(folder=folder).scrape({})))


def answer_and_end(path):
    sink = opened(path)
    sink.start()
    add(sink, answered(number=1000))


def counted(text, name="tintype_requests_total"):
    return {
        tuple(value for key, value in sorted(each.labels.items()) if key in ("route", "worker")): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == name
    }


def test_a_scrape_tells_what_came_in_just_now():
    sink = opened()
    add(sink, answered(number=3))
    assert counted(sink.scrape({})) == {("/predict",): 3}
    add(sink, answered("/models/cats"))
    add(sink, answered("/made/up"))
    assert counted(sink.scrape({})) == {("/predict",): 3, ("/models/<name>",): 1, ("other",): 1}


def test_a_scrape_tells_what_workers_elsewhere_said():
    sink = opened()
    add(sink, answered())
    told = exposition(None, None, State(workers=1))
    text = sink.scrape({"a": Snapshot(told, worker="a"), "b": Snapshot(told, alive=False, worker="b")})
    assert counted(text, "tintype_workers") == {(): 1, ("a",): 1}


def test_the_log_has_a_line_of_each_request_and_none_of_what_machines_ask_for_all_the_time(tmp_path):
    sink = opened(tmp_path / "log")
    sink.start()
    add(sink, [*answered(), *answered("/health/live"), *answered("/metrics"), *answered("/made/up")])
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["route"] for line in lines] == ["/predict", "other"]
    assert counted(sink.text())["/health/live",] == 1


def test_what_a_scrape_has_counted_is_logged_once_all_the_same(tmp_path):
    sink = opened(tmp_path / "log")
    add(sink, answered(number=5))
    sink.scrape({})
    sink.start()
    sink.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 5
    assert counted(sink.text()) == {("/predict",): 5}


def test_the_log_is_written_while_the_process_goes_on(tmp_path, eventually):
    sink = opened(tmp_path / "log")
    sink.start()
    add(sink, answered())
    eventually(lambda: (tmp_path / "log").read_text().count("\n") == 1)
    add(sink, answered())
    eventually(lambda: (tmp_path / "log").read_text().count("\n") == 2)
    sink.close()
    sink.close()  # a second time changes nothing


def test_more_records_than_can_wait_are_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    sink = opened()
    add(sink, answered(number=12))
    assert counted(sink.text()) == {("/predict",): 10}
    add(sink, answered(number=12))  # ten wait for the log, which is not running, and ten wait behind them
    assert counted(sink.text()) == {("/predict",): 10}
    assert counted(sink.text(), "tintype_log_dropped_total") == {(): 4}


def test_lines_that_the_log_lost_are_counted(monkeypatch):
    reader, writer = os.pipe()
    sink = opened(f"/proc/self/fd/{writer}")
    os.close(reader)
    sink.start()
    add(sink, answered(number=7))
    sink.close()
    os.close(writer)
    assert counted(sink.text(), "tintype_log_dropped_total") == {(): 7}


def test_an_error_of_our_own_does_not_end_the_telling(tmp_path, eventually, caplog):
    sink = opened(tmp_path / "log")
    sink.start()
    sink.add(Record("id", "no time", 0.0, "GET", "/predict"))
    eventually(lambda: "some records are missing" in caplog.text)
    add(sink, answered())
    sink.close()
    assert (tmp_path / "log").read_text().count("\n") == 1


def test_the_processes_of_a_server_tell_of_each_other_and_of_those_that_died(eventually):
    with shared_folder() as folder:
        children = [CLEAN.Process(target=serve, args=(folder, number)) for number in (10, 100)]
        for child in children:
            child.start()
        sink = opened(folder=folder)
        add(sink, answered(number=1))
        eventually(lambda: counted(sink.scrape({})) == {("/predict",): 111})
        assert counted(sink.scrape({}), "tintype_workers") == {(): 3}
        for child in children:
            child.kill()
            child.join()
        assert counted(sink.scrape({})) == {("/predict",): 111}
        assert counted(sink.scrape({}), "tintype_workers") == {(): 1}


def test_what_one_process_told_no_other_tells_less_of():
    with shared_folder() as folder:
        ours = opened(folder=folder)
        add(ours, answered(number=5))
        assert counted(ours.scrape({})) == {("/predict",): 5}

        told = CLEAN.SimpleQueue()
        child = CLEAN.Process(target=tell, args=(folder, told))
        child.start()
        assert told.get() == {("/predict",): 5}
        child.join()


def test_metrics_are_told_when_they_cannot_be_left_for_the_others(caplog):
    with shared_folder() as folder:
        sink = opened(folder=folder)
    for _ in range(3):
        add(sink, answered())
        text = sink.text()
    assert counted(text) == {("/predict",): 3}
    assert len(caplog.records) == 1


def test_a_process_that_ends_by_itself_writes_what_is_left(tmp_path):
    """As web processes do: they are multiprocessing's, and end without atexit."""
    child = CLEAN.Process(target=answer_and_end, args=(tmp_path / "log",))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert (tmp_path / "log").read_text().count("\n") == 1000


@pytest.mark.parametrize("kind", ["main", "child"])
def test_a_pipe_that_nobody_reads_does_not_keep_a_process_from_ending(kind):
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", UNREAD, kind], stdout=writer, stderr=subprocess.PIPE, cwd=ROOT)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (0, b"done\n")
    os.close(reader)
    os.close(writer)


def test_what_cannot_work_is_said_before_anything_starts(tmp_path):
    check(settings.read({"TINTYPE_ACCESS_LOG": str(tmp_path / "log")}), {})
    with pytest.raises(WrongUse, match="can be written"):
        check(settings.read({"TINTYPE_ACCESS_LOG": str(tmp_path)}), {})
    with pytest.raises(WrongUse, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        check(settings.read({}), {"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"})
