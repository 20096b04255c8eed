import fcntl
import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
import termios
from datetime import UTC, datetime

import pytest

from artifacts.errors import WrongUse
from serving.records import Record
from serving.telemetry.access_log import WAITING, AccessLog, lines
from serving.telemetry.outlets import PIPE_BUF, AppendedFile, outlet
from tests.real import ROOT

# Writes so many records to its descriptor 1, `bulk` at a time, and says on standard error how many it had to drop.
WRITER = """
import os, sys
from serving.records import Record
from serving.telemetry.access_log import AccessLog
from serving.telemetry.outlets import StandardOutput
name, number, bulk, seconds, user = sys.argv[1], *map(int, sys.argv[2:])
os.setuid(user)
access_log = AccessLog(StandardOutput())
for start in range(0, number, bulk):
    access_log.write([Record(f"{name}-{each}", 1.7e9, 0, "POST") for each in range(start, start + bulk)])
access_log.close(seconds)
print(access_log.dropped, file=sys.stderr)
"""


def records(number, **filled):
    return [Record(f"id-{each}", 1.7e9, 0.0, "POST", "/predict", **filled) for each in range(number)]


def ids(text):
    return [json.loads(line)["request_id"] for line in text.splitlines()]


def write(stdout, name="a", number=1000, bulk=100, seconds=30, user=None):
    numbers = map(str, (number, bulk, seconds, os.getuid() if user is None else user))
    arguments = [sys.executable, "-c", WRITER, name, *numbers]
    return subprocess.Popen(arguments, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT, text=True)


def dropped(process):
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    return int(said.splitlines()[-1])


def test_a_line_tells_all_that_is_known_of_a_request():
    record = Record(
        "a-1", 1763757420.1239, 0.0, "POST", "/predict", "", "/predict", 200, "ok", "digits", 3, "int8", 7, 2,
        0.0012345, 0.002, 0.003, 16, 0.01, "ci",
    )  # fmt: skip
    assert json.loads(lines([record])[0]) == {
        "time": "2025-11-21T20:37:00.123Z", "request_id": "a-1", "method": "POST", "route": "/predict", "status": 200,
        "outcome": "ok", "model": "digits", "version": 3, "variant": "int8", "pictures": 7, "refused": 2,
        "decode_ms": 1.234, "wait_ms": 2.0, "infer_ms": 3.0, "total_ms": 10.0, "batch": 16, "caller": "ci",
    }  # fmt: skip


@pytest.mark.parametrize("moment", [0.0, 1.7e9, 1763757420.9999, 4102444799.5])
def test_the_time_is_that_of_rfc_3339(moment):
    told = json.loads(lines([Record("id", moment, 0)])[0])["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told)
    assert 0 <= moment - datetime.fromisoformat(told).astimezone(UTC).timestamp() < 0.001001


def test_whatever_a_client_sends_is_one_line_of_json_that_a_pipe_takes_in_one_piece():
    odd = 'a"\n\\\x00é🐈'
    (line,) = lines([Record("x" * 64, 1.7e9, 0, odd * 1000, outcome=odd, model=odd, variant=odd)])
    assert line.count(b"\n") == 1
    assert len(line) < PIPE_BUF
    assert json.loads(line)["model"] == odd


def test_lines_are_appended_in_their_order(tmp_path):
    (tmp_path / "log").write_text('{"request_id": "before"}\n')
    access_log = AccessLog(AppendedFile(tmp_path / "log"))
    access_log.write(records(3))
    access_log.write([])
    access_log.write(records(1))
    access_log.close(1)
    assert ids((tmp_path / "log").read_text()) == ["before", "id-0", "id-1", "id-2", "id-0"]
    assert access_log.dropped == 0


def test_a_file_that_was_moved_away_is_opened_anew(tmp_path):
    access_log = AccessLog(AppendedFile(tmp_path / "log"))
    access_log.write(records(1))
    (tmp_path / "log").rename(tmp_path / "log.1")
    access_log.write(records(2))
    (tmp_path / "log").unlink()
    access_log.write(records(3))
    access_log.close(1)
    assert len(ids((tmp_path / "log.1").read_text())) == 1
    assert len(ids((tmp_path / "log").read_text())) == 3


def test_several_processes_share_a_file(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        writers = [write(file, name) for name in "abc"]
        assert [dropped(each) for each in writers] == [0, 0, 0]
    found = ids((tmp_path / "log").read_text())
    for name in "abc":
        assert [each for each in found if each[0] == name] == [f"{name}-{number}" for number in range(1000)]


def test_several_processes_share_a_pipe_and_no_line_is_torn():
    reader, writer = os.pipe()
    writers = [write(writer, name) for name in "abc"]
    os.close(writer)
    with os.fdopen(reader) as file:
        found = ids(file.read())
    assert [dropped(each) for each in writers] == [0, 0, 0]
    for name in "abc":
        assert [each for each in found if each[0] == name] == [f"{name}-{number}" for number in range(1000)]


def test_a_pipe_that_nobody_reads_loses_lines_and_holds_up_nobody():
    reader, writer = os.pipe()
    process = write(writer, number=20_000, bulk=1000, seconds=0)
    lost = dropped(process)
    os.set_blocking(reader, False)
    read = b""
    while piece := _read(reader):
        read += piece
    os.close(reader)
    os.close(writer)
    assert len(ids(read)) + lost == 20_000
    assert lost > 19_000  # a pipe holds 64 kB


def _read(reader):
    try:
        return os.read(reader, 1_000_000)
    except BlockingIOError:
        return b""


def test_our_pipe_is_not_made_non_blocking_for_those_who_share_it():
    reader, writer = os.pipe()
    dropped(write(writer, number=100_000, bulk=10_000, seconds=0))
    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(reader)
    os.close(writer)


def test_a_reader_that_went_away_is_said_once():
    reader, writer = os.pipe()
    process = write(writer, number=1000, bulk=100)
    os.close(reader)
    os.close(writer)
    said = process.communicate(timeout=60)[1]
    assert said.splitlines() == ["the access log cannot be written, lines are dropped: Broken pipe", "1000"]


def test_a_pipe_that_cannot_be_opened_anew_loses_lines_and_holds_up_nobody():
    """As for a process that became another user: a pipe belongs to the one who made it."""
    reader, writer = os.pipe()
    os.fchmod(writer, 0)
    process = write(writer, number=20_000, bulk=1000, seconds=0, user=os.getuid() or 65534)
    assert dropped(process) > 19_000
    os.close(reader)
    os.close(writer)


def test_a_socket_may_be_standard_output():
    ours, theirs = socket.socketpair()
    process = write(theirs)
    theirs.close()
    with ours.makefile() as file:
        assert ids(file.read()) == [f"a-{number}" for number in range(1000)]
    ours.close()
    assert dropped(process) == 0


def test_a_socket_that_nobody_reads_loses_lines_and_holds_up_nobody():
    ours, theirs = socket.socketpair()
    assert dropped(write(theirs, number=20_000, bulk=1000, seconds=0)) > 0
    ours.close()
    theirs.close()


def test_a_terminal_that_was_stopped_loses_lines_and_holds_up_nobody():
    ours, theirs = pty.openpty()
    termios.tcflow(theirs, termios.TCOOFF)  # as Ctrl-S does
    assert dropped(write(theirs, number=20_000, bulk=1000, seconds=0)) > 0
    os.close(ours)
    os.close(theirs)


def test_without_a_descriptor_1_nothing_is_written():
    code = "import sys; from serving.telemetry.outlets import outlet; sys.exit(outlet('-') is not None)"
    command = f'exec "{sys.executable}" -c "{code}" >&-'
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, check=False).returncode == 0


class Slow:
    """An outlet that takes a few bytes at a time, as a terminal may."""

    limit = 1000

    def __init__(self):
        self.taken = bytearray()
        self.room = 0

    def write(self, data):
        assert len(data) <= self.limit
        piece = data[: self.room]
        self.room -= len(piece)
        self.taken += piece
        return len(piece)

    def close(self):
        pass


def test_a_line_that_was_taken_in_part_is_finished_first():
    slow = Slow()
    access_log = AccessLog(slow)
    for _ in range(300):
        slow.room = 77
        access_log.write(records(1))
    slow.room = 10**9
    access_log.write(records(1))
    assert len(ids(slow.taken)) == 301


def test_more_lines_than_may_wait_are_dropped_and_counted():
    slow = Slow()
    access_log = AccessLog(slow)
    for _ in range(3):
        access_log.write(records(WAITING // 2 + 1))
    assert access_log.dropped == WAITING // 2 + 3
    slow.room = 10**9
    access_log.close(10)
    assert len(ids(slow.taken)) == WAITING
    assert access_log.dropped == WAITING // 2 + 3


def test_a_full_disk_is_said_once_and_what_comes_after_is_written(caplog):
    class Full(Slow):
        full = True

        def write(self, data):
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(data)

    disk = Full()
    access_log = AccessLog(disk)
    with caplog.at_level(logging.WARNING):
        for number in (3, 0, 3):
            access_log.write(records(number))
    assert len(caplog.records) == 1
    disk.full, disk.room = False, 10**9
    access_log.write(records(2))
    assert (access_log.dropped, len(ids(disk.taken))) == (6, 2)


def test_off_is_off():
    assert outlet("off") is None


def test_a_file_that_cannot_be_written_is_said_before_anything_starts(tmp_path):
    for path in (tmp_path / "none" / "log", tmp_path):
        with pytest.raises(WrongUse, match=f"-, off, or the path of a file.*{path}"):
            outlet(str(path))


def test_a_pipe_with_a_name_is_written_in_pieces_that_stay_whole(tmp_path):
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    opened = outlet(str(tmp_path / "log"))
    assert opened.limit == PIPE_BUF
    access_log = AccessLog(opened)
    access_log.write(records(100))
    assert len(ids(os.read(reader, 1_000_000))) == 100
    access_log.close(1)
    os.close(reader)
