import hashlib
import socket
import threading
import time

import pytest

from artifacts import files
from artifacts.errors import BadData
from training.data import downloads

CONTENT = b"content" * 100_000


def md5_of(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def served(server, tmp_path):
    (tmp_path / "served" / "a.gz").write_bytes(CONTENT)
    return server


def test_a_download_is_checked_and_kept(served, tmp_path):
    home = tmp_path / "home" / "deep"
    assert downloads.fetch(served, "a.gz", md5_of(CONTENT), home) == home / "a.gz"
    (tmp_path / "served" / "a.gz").unlink()
    downloads.fetch(served, "a.gz", md5_of(CONTENT), home)
    assert (home / "a.gz").read_bytes() == CONTENT
    assert [path.name for path in home.iterdir()] == ["a.gz"]


def test_a_download_that_fails_names_the_way_out(served, tmp_path):
    with pytest.raises(BadData, match=r"cannot be downloaded .*404.*give a local copy with --data-dir"):
        downloads.fetch(served, "none.gz", "", tmp_path / "home")


def test_a_machine_without_a_network_is_told_the_way_out(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(BadData, match=r"cannot be downloaded .*refused.*give a local copy with --data-dir"):
            downloads.fetch(address, "a.gz", "", tmp_path / "home")


def test_another_file_than_the_promised_one_is_refused_and_not_kept(served, tmp_path):
    with pytest.raises(BadData, match=r"a.gz is not the official file: its md5 differs; try again, or give a local"):
        downloads.fetch(served, "a.gz", "0" * 32, tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []


def answering(answer):
    """The address of a server that says `answer` once and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 400, "it ended after 400 of 1,000 bytes"),
        (b"no HTTP at all\r\n\r\n", "no HTTP at all"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "IncompleteRead"),
    ],
)
def test_a_download_that_breaks_off_leaves_nothing(answer, reason, tmp_path):
    thread, address = answering(answer)
    with pytest.raises(BadData, match=f"cannot be downloaded .*{reason}"):
        downloads.fetch(address, "a.gz", md5_of(b"x" * 400), tmp_path / "home")
    thread.join()
    assert list((tmp_path / "home").iterdir()) == []


def test_what_a_killed_download_has_left_is_written_over(served, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".a.gz.part").write_bytes(b"half")
    downloads.fetch(served, "a.gz", md5_of(CONTENT), tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["a.gz"]


def test_two_that_need_the_same_file_download_it_once(served, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with files.locked(home):
        second = threading.Thread(target=downloads.fetch, args=(served, "a.gz", md5_of(CONTENT), home))
        second.start()
        time.sleep(0.05)
        (tmp_path / "served" / "a.gz").unlink()  # whoever downloads it now fails
        (home / "a.gz").write_bytes(CONTENT)
    second.join()
    assert [path.name for path in home.iterdir()] == ["a.gz"]
