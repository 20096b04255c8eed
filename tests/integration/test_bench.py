"""`tintype bench`, against a real server and against one that answers as it is told."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from artifacts.bundle import verify
from tests.real import ROOT, Home, free_port, serving
from tests.scripted import CERTIFICATE, PREDICTED, Scripted, answer, as_tintype, problem, response
from tintype import main

QUICK = ("--connections", "3", "--seconds", "1")
TWO_LEVELS = ("--connections", "1,3", "--seconds", "1")
WHOLE = answer(PREDICTED)


@pytest.fixture
def folder(pictures, tmp_path):
    """A folder with two pictures, the working directory of the command."""
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(pictures.encoded[number])
    return tmp_path


@pytest.fixture
def bench(folder, tmp_path_factory, monkeypatch, capsys):
    """The command in `folder`, with a home of its own, as on a machine that has no models."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TINTYPE_HOME", str(tmp_path_factory.mktemp("client")))

    def run(url, *arguments):
        try:
            code = main(["bench", url, *(arguments or ("0.png", *QUICK))])
        except SystemExit as wrong_use:  # argparse's
            code = wrong_use.code
        return subprocess.CompletedProcess(url, code, *capsys.readouterr())

    return run


def url(server):
    return f"http://127.0.0.1:{server.port}"


def test_it_measures_each_number_of_connections_and_ends_with_its_page(home, server, folder):
    sha256 = verify(home.path / "models" / "digits" / "1").sha256
    done = home.run("bench", url(server), ".", *TWO_LEVELS, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"digits@1 in fp32 (sha256 {sha256[:12]}…) answers at {url(server)}/predict" in done.stderr
    assert "100%" in done.stderr
    head, *rows, said, last = done.stdout.splitlines()
    assert head.split("  ")[0] == "connections"
    assert [row.split()[0] for row in rows] == ["1", "3"]
    assert [row.split()[-1] for row in rows] == ["0", "0"]
    assert "requests/s over" in said
    assert last == "bench.html"
    page = (folder / "bench.html").read_text()
    assert sha256 in page
    assert page.count("<svg") == 2


def test_json_is_the_whole_report(server, folder, bench):
    done = bench(
        f"{url(server)}/predict",
        "0.png",
        "1.png",
        "--connections",
        "1,3",
        "--seconds",
        "0.3",
        "--json",
        "--out",
        "other.html",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"].keys() == {"name", "version", "sha256", "variant"}
    assert report["page"] == "other.html"
    assert (folder / "other.html").exists()
    assert report["pictures"]["sent"] == 2
    for level, connections in zip(report["levels"], (1, 3), strict=True):
        assert level["connections"] == connections
        assert level["ok"] > 0
        assert (level["refused"], level["failed"]) == ({}, {})
        assert level["requests_per_second"] == level["pictures_per_second"]
        assert level["requests_per_second"] == pytest.approx(level["ok"] / level["seconds"])
        assert 0 < level["p50_ms"] <= level["p95_ms"] <= level["p99_ms"] <= level["max_ms"]


def test_several_pictures_a_request_are_counted_as_such(server, bench):
    done = bench(url(server), ".", *QUICK, "--pictures", "5", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["pictures"]["in_a_request"] == 5
    for level in report["levels"]:
        assert level["ok"] > 0
        assert level["pictures_per_second"] == pytest.approx(5 * level["requests_per_second"])


def test_the_model_and_the_labels_that_are_asked_for_reach_the_server(server, bench):
    done = bench(url(server), "0.png", *QUICK, "--model", "digits@1", "--top-k", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"] == f"{url(server)}/predict?model=digits&version=1&top_k=2"
    done = bench(url(server), "0.png", *QUICK, "--model", "cats")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the server refused 0.png with 404: there is no model 'cats'" in done.stderr


def test_a_server_without_a_model_is_not_ready(bench, tmp_path_factory):
    with serving(Home(tmp_path_factory.mktemp("empty"))) as (_, client):
        done = bench(url(client))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the server at {url(client)} is not ready (503): no model can answer" in done.stderr


@pytest.mark.parametrize(
    ("answered", "says"),
    [
        (as_tintype(lambda _: problem(413, "the picture has 64 pixels")), "refused 0.png with 413: the picture has 64"),
        (as_tintype(lambda _: response(500)), "the server refused 0.png with 500: Because"),
        (as_tintype(lambda _: answer({"label": "7"})), "/predict did not answer as Tintype does"),
        (as_tintype(lambda _: answer([1])), "/predict did not answer as Tintype does"),
        (as_tintype(lambda _: None), "did not answer in HTTP"),
        (as_tintype(None, problem(401, "no key was given")), "is not ready (401): no key was given"),
        (lambda *_: response(404), "is no Tintype server: GET /health/ready was answered with 404"),
        (lambda *_: response(200), "is no Tintype server"),
        (lambda *_: response(301, b"", "Location: https://host/"), "answered with 301, which leads to https://host/"),
        (lambda *_: b"220 mail.example ESMTP\r\n", "did not answer in HTTP"),
    ],
)
def test_a_server_that_cannot_be_measured_gets_a_sentence(bench, answered, says):
    with Scripted(answered) as server:
        done = bench(server.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_picture_that_is_refused_among_others_is_named(bench):
    mixed = {**PREDICTED, "predictions": [{"label": "7"}, {"error": {"code": "any", "message": "it is damaged"}}]}
    with Scripted(as_tintype(lambda _: answer(mixed))) as server:
        done = bench(server.url, "0.png", "1.png", "--pictures", "2", *QUICK)
    assert done.returncode == 1
    assert "the server refused 1.png: it is damaged" in done.stderr


def test_nobody_listens(bench):
    port = free_port()
    done = bench(f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"nothing listens on 127.0.0.1:{port}; start `tintype serve` there" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ftp://host", "0.png"], "the URL must be like http://127.0.0.1:8000"),
        (["http://host", "absent.png"], "there is no file absent.png"),
        (["http://host", "notes.txt"], "notes.txt: this is not a picture"),
        (["http://host", "0.png", "--connections", "1,,3"], "whole numbers from 1 to 10,000; received '1,,3'"),
        (["http://host", "0.png", "--connections", "0"], "received '0'"),
        (["http://host", "0.png", "--connections", "99999"], "received '99999'"),
        (["http://host", "0.png", "--seconds", "0"], "received '0'"),
        (["http://host", "0.png", "--seconds", "inf"], "received 'inf'"),
        (["http://host", "0.png", "--pictures", "-1"], "received '-1'"),
        (["http://host", "0.png", "--top-k", "two"], "received 'two'"),
        (["http://host", "0.png", "--model", "Cats!"], "received 'Cats!'"),
        (["http://host", "0.png", "--header", "secret"], "a header is like"),
        (["http://host", "0.png", "--out", "absent/bench.html"], "cannot write absent/bench.html"),
        (["http://host", "0.png", "--out", "."], "cannot write .: Is a directory"),
    ],
)
def test_wrong_use_gets_a_sentence(folder, bench, arguments, says):
    (folder / "notes.txt").write_text("no picture")
    done = bench(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_refusals_stand_in_the_table_and_on_the_page_with_what_was_said(folder, bench):
    with Scripted(as_tintype(lambda number: problem(429, "the queue is full") if number % 2 else WHOLE)) as server:
        done = bench(server.url)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d × 429$", done.stdout.splitlines()[1])
    sentence = next(line for line in done.stdout.splitlines() if line.startswith("429 for "))
    assert sentence.endswith(": the queue is full")
    assert sentence in (folder / "bench.html").read_text()


def test_when_no_request_succeeds_it_says_what_happened_and_fails(folder, bench):
    with Scripted(as_tintype(lambda number: problem(503, "no worker") if number else WHOLE)) as server:
        done = bench(server.url)
    assert done.returncode == 1
    assert "No request succeeded." in done.stdout
    assert re.search(r"^503 for [\d,]+ requests: no worker$", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == "bench.html"
    assert done.stderr.splitlines()[-1] == "tintype: no request succeeded; the table says what happened instead"
    assert "<svg" not in (folder / "bench.html").read_text()


def test_headers_are_sent_with_every_request(bench):
    with Scripted(as_tintype(lambda _: WHOLE)) as server:
        done = bench(server.url, "0.png", *QUICK, "--header", "Authorization: Bearer secret", "--header", "X-Team: red")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) > 4
    for head, _ in server.requests:
        assert b"\r\nAuthorization: Bearer secret\r\n" in head
        assert b"\r\nX-Team: red\r\n" in head
    assert "secret" not in done.stdout + done.stderr


def test_https(bench, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with Scripted(as_tintype(lambda _: WHOLE), secure=True) as server:
        done = bench(server.url, "0.png", *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["url"] == f"{server.url}/predict"
    assert all(level["ok"] and not level["failed"] for level in report["levels"])


def test_https_that_fails_gets_a_sentence(bench, server):
    with Scripted(as_tintype(lambda _: WHOLE), secure=True) as secure:
        assert "the certificate of localhost is not trusted" in bench(secure.url).stderr
        assert "try https://" in bench(secure.url.replace("https", "http")).stderr
    assert "does not speak TLS" in bench(url(server).replace("http", "https")).stderr


def test_ctrl_c_prints_what_has_been_measured(server, folder):
    home = Home(folder / "home")
    command = [sys.executable, str(ROOT / "tintype.py"), "bench", url(server), "0.png", "--out", "short.html"]
    plan = ["--connections", "1,2,4", "--seconds", "60"]
    with subprocess.Popen(
        [*command, *plan], cwd=folder, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        said = b""
        while not re.search(rb"00:0[3-9]<.*requests/s", said):  # the first second is not counted
            said += os.read(process.stderr.fileno(), 65536)
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate()
    _, row, verdict, finding, last = out.decode().splitlines()
    assert process.returncode == 130
    assert rest.decode().splitlines()[-1] == "tintype: interrupted"
    assert row.split()[0] == "1"
    assert "requests/s over 1 connection," in verdict
    assert finding == "interrupted: 0 of 3 levels measured to the end"
    assert last == "short.html"
    assert (folder / "short.html").exists()
