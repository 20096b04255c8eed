"""The measuring of a server: in a process of its own, so that nobody who waits for an answer waits for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from artifacts import bundle as bundles
from artifacts import settings as settings_module
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle, TintypeError
from artifacts.settings import Settings
from serving.children import die_with_parent, environment
from serving.comparison.comparison import Comparison
from serving.comparison.gate import Measure, measure_here

NICE = 10  # behind whoever answers requests


def measure_in_a_child(settings: Settings) -> Measure:
    """As `measure_here`, in a child of lower priority; the calling thread waits for it, and no other.

    Raises, when it measures:
        BadBundle: as `measure_here`.
    """

    def measured(candidate: Bundle, current: Bundle | None) -> Comparison:
        paths = [str(version.path) for version in (candidate, current) if version]
        command = [sys.executable, "-m", __name__, str(os.getpid()), *paths]
        done = subprocess.run(  # noqa: S603 - our own
            command, env=environment(settings), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"the process ended with {done.returncode}"]
            raise BadBundle(f"{candidate.name}@{candidate.version} cannot be compared: {last[0]}")
        told: Comparison = json.loads(done.stdout)
        return told

    return measured


def main(paths: list[str]) -> None:
    """Measure the versions at these paths, and print what was found.

    Raises:
        SystemExit: one cannot be measured; a sentence on standard error says why.
    """
    os.nice(NICE)
    settings = settings_module.read(os.environ)
    try:
        candidate, *others = [bundles.read(Path(path)) for path in paths]
        told = measure_here(settings)(candidate, others[0] if others else None)
    except TintypeError as error:
        sys.exit(str(error))
    print(json.dumps(told))  # noqa: T201 - to the process that started this one


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    main(sys.argv[2:])
