"""`tintype demo`: from nothing to a served model and a classified folder, one room after the other."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from artifacts import run as runs
from artifacts.errors import TintypeError
from artifacts.pictures import Pictures
from artifacts.settings import Settings

MODEL = "digits"
HOST, PORT = "127.0.0.1", 8000
READY_SECONDS = 30
SHOWN_ROWS = 8
INTERRUPTED = 128 + signal.SIGINT  # as shells count a death by SIGINT
TINTYPE = Path(__file__).with_name("tintype.py")

Command = Callable[[list[str]], int]


def demo(settings: Settings, tintype: Command, port: int | None, *, once: bool) -> None:
    """Train, export, prove, deploy, serve, predict over HTTP, classify a folder; then stay up unless `once`.

    `tintype` runs a command line and returns its exit code.

    Raises:
        TintypeError: a step failed; its own sentence is on standard error.
    """
    port = port or _free_port()
    _step("train a network on 1,797 scanned digits")
    _run(tintype, "train", "digits", "--name", MODEL)
    _step("export it to SavedModel and ONNX, and prove that they answer as the Keras model")
    _run(tintype, "export", "latest", "--name", MODEL)
    _step("put it into production")
    _run(tintype, "deploy", MODEL)
    pictures = Pictures.load(runs.find(settings.runs, "latest").pictures_file)
    _step(f"serve it on http://{HOST}:{port} and ask it over HTTP")
    with _server(port) as server:
        _ask(port, pictures)
        _step("classify a folder of pictures, one of them damaged")
        folder = _write_folder(settings.home / "demo", pictures)
        _run(tintype, "classify", str(folder), "--model", MODEL, "--out", str(settings.home / "demo" / "table"))
        _show_table(settings.home / "demo" / "table" / "results.csv")
        if not once:
            _stay(server, port)


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _run(tintype: Command, *arguments: str) -> None:
    print(f"$ tintype {' '.join(arguments)}", flush=True)
    code = tintype(list(arguments))
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise TintypeError(f"the demo stopped: `tintype {' '.join(arguments)}` failed")


@contextmanager
def _server(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """`tintype serve` as a process of its own, ready to answer; stopped at the end."""
    print(f"$ tintype serve --port {port}", flush=True)
    with subprocess.Popen([sys.executable, str(TINTYPE), "serve", "--port", str(port)]) as server:  # noqa: S603
        try:
            _wait_ready(server, port)
            yield server
        finally:
            server.send_signal(signal.SIGTERM)


def _wait_ready(server: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with suppress(OSError):
            if _request("GET", port, "/health/ready")[0] == http.client.OK:
                return
        time.sleep(0.05)
    raise TintypeError(f"the server was not ready within {READY_SECONDS} s; run `tintype serve` to see why")


def _ask(port: int, pictures: Pictures) -> None:
    status, answer = _request(
        "POST", port, f"/predict?model={MODEL}", pictures.encoded[0], {"Content-Type": "image/png"}
    )
    if status != http.client.OK:
        raise TintypeError(f"the prediction failed with {status}: {answer.get('detail')}")
    (prediction,) = answer["predictions"]
    print(f"POST /predict with {pictures.names[0]}, a picture of the digit {pictures.labels[0]}")
    print(f"  label {prediction['label']}, confidence {prediction['confidence']:.4f}")


def _request(
    method: str, port: int, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _write_folder(home: Path, pictures: Pictures) -> Path:
    """A folder of the run's held-out pictures, named after what they show, and a damaged one."""
    shutil.rmtree(home, ignore_errors=True)
    folder = home / "pictures"
    folder.mkdir(parents=True)
    for number, (data, label) in enumerate(zip(pictures.encoded, pictures.labels, strict=True)):
        (folder / f"{number:03d}-shows-{label}.png").write_bytes(data)
    (folder / "damaged.png").write_bytes(pictures.encoded[0][:60])
    return folder


def _show_table(table: Path) -> None:
    lines = table.read_text(encoding="utf-8").splitlines()
    print(f"\nthe first of {len(lines) - 1} rows of {table}:")
    for line in lines[: SHOWN_ROWS + 1]:
        print(f"  {line[:110]}")


def _stay(server: "subprocess.Popen[bytes]", port: int) -> None:
    url = f"http://{HOST}:{port}"
    print(f"\nThe page is open at {url} - drop a picture on it. Ctrl-C ends the demo.", flush=True)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)
    try:
        server.wait()
    except KeyboardInterrupt:
        print("\nended")


def _free_port() -> int:
    """8000, or the next port that nobody listens on."""
    for port in range(PORT, PORT + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            if port != PORT:
                print(f"port {PORT} is taken by another program; using {port}")
            return port
    raise TintypeError(f"no free port between {PORT} and {PORT + 99}; choose one with --port")
