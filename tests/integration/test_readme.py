"""What the README says is done as it stands, and its table is the settings' own."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from artifacts.settings import SETTINGS
from artifacts.store import Store
from tests.real import ROOT, Client, form, free_port, wait_answering
from training.config import READERS

README = (ROOT / "README.md").read_text()
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]


@pytest.fixture
def newcomer(home, pictures, tmp_path):
    """An empty folder with a few pictures, an empty home folder, and `tintype` as a command."""
    command = tmp_path / "bin" / "tintype"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tintype.py"}" "$@"\n')
    command.chmod(0o755)
    (tmp_path / "pictures").mkdir()
    for number, data in enumerate(pictures.encoded):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(data)
    for name in ("picture.png", "other.png"):
        (tmp_path / name).write_bytes(pictures.encoded[0])
    fresh = type(home)(tmp_path / "var")
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


def test_the_examples_do_what_they_say(newcomer, publish_again):
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

    publish_again(Store(newcomer.path / "models"))
    assert shell(newcomer, "tintype deploy digits --require none").returncode == 0  # its epochs are fewer
    for line in aliases:
        done = shell(newcomer, line)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert newcomer.json("models", "digits")[1]["aliases"] == ["production"]


def test_the_table_of_settings_is_the_settings():
    rows = re.findall(r"^\| `TINTYPE_(\w+)` \| `([^`]*)` \| (.*) \|$", README, re.MULTILINE)
    assert rows == [(name, setting.default, setting.meaning) for name, setting in SETTINGS.items()]


def test_every_command_named_in_the_readme_exists(home):
    named = set(re.findall(r"`?tintype ([a-z]+)", README))
    helped = home.run("--help").stdout
    assert named
    assert not [name for name in named if not re.search(rf"^    {name} ", helped, re.MULTILINE)]


def test_every_key_of_a_recipe_is_in_the_table_and_no_other():
    table = README.partition("| key | meaning |")[2].partition("\n\n")[0]
    told = [key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(told) == sorted(READERS)
