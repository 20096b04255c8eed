"""The examples of the README, as they stand, by a newcomer with a few pictures."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.real import ROOT, Client, Home, form, free_port, wait_answering

README = (ROOT / "README.md").read_text()
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]
PICTURES = 64


@pytest.fixture
def newcomer(encode, tmp_path):
    """An empty folder with a few pictures, an empty home folder, and `tintype` as a command."""
    command = tmp_path / "bin" / "tintype"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tintype.py"}" "$@"\n')
    command.chmod(0o755)
    (tmp_path / "pictures").mkdir()
    encoded = [encode((16 * image).clip(0, 255).astype(np.uint8)) for image in load_digits().images[:PICTURES]]
    for number, data in enumerate(encoded):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(data)
    for name in ("picture.png", "other.png"):
        (tmp_path / name).write_bytes(encoded[0])
    fresh = Home(tmp_path / "var")
    fresh.environment["PATH"] = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    return fresh


def shell(newcomer, line):
    folder = newcomer.path.parent
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=newcomer.environment, capture_output=True, text=True, check=False
    )


def curl(client, line, folder):
    """A line of curl, done by ourselves: not every machine has it. Returns the status and the body."""
    words = shlex.split(line)[1:]
    url = next(word for word in words if word.startswith("http"))
    path = re.sub(r"http://127\.0\.0\.1:8000", "", url)
    options = dict(zip(words[::2], words[1::2], strict=False))
    files = [words[place + 1].split("=@")[1] for place, word in enumerate(words) if word == "-F"]
    if files:
        body, content_type = form([(name, (folder / name).read_bytes()) for name in files])
        return client.request("POST", path, body, Content_Type=content_type)
    if "--data-binary" in options:
        body = (folder / options["--data-binary"].removeprefix("@")).read_bytes()
        return client.request("POST", path, body, Content_Type=options["-H"].removeprefix("Content-Type: "))
    return client.request("GET", path)


def test_the_examples_do_what_they_say(newcomer):
    commands, serve, curls, aliases = BLOCKS
    for line in commands:
        done = shell(newcomer, line)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (newcomer.path / "models" / "digits" / "1" / "model.onnx").exists()

    port = free_port()
    assert [line.split("#")[0].strip() for line in serve] == ["tintype serve"]
    process, client = newcomer.start("serve", "--port", port), Client(port)
    wait_answering(process, client)
    try:
        for line in curls:
            status, _, body = curl(client, line, newcomer.path.parent)
            assert status == 200, f"{line}\n{body}"
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()

    for line in ("tintype export latest --precision fp32", "tintype deploy digits"):
        assert shell(newcomer, line).returncode == 0
    for line in aliases:
        done = shell(newcomer, line)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert newcomer.json("models", "digits")[1]["aliases"] == ["production"]
