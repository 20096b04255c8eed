import re
import subprocess
import sys

from tests.real import ROOT, Home


def test_the_demo_runs_twice_from_an_empty_home_and_shows_what_it_made(tmp_path):
    home = Home(tmp_path / "var")
    for version in (1, 2):
        if version == 2:  # another model in production is none of the demo's business
            home.json("export", "latest", "--name", "other")
            home.json("deploy", "other")
        command = [sys.executable, str(ROOT / "tintype.py"), "demo", "--once"]
        done = subprocess.run(command, env=home.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert float(re.search(r"test accuracy (\S+),", done.stdout)[1]) >= 0.97
        assert float(re.search(r"largest difference is (\S+)", done.stdout)[1]) <= 1e-4
        assert float(re.search(r"label \d, confidence (\S+)", done.stdout)[1]) > 0.2
        assert "64 of 65 files classified, 1 refused" in done.stdout
        assert f"digits@{version} is in production" in done.stdout
    assert len(home.json("models", "digits")) == 2
