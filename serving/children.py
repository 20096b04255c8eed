"""Child processes that never outlive their parent."""

import ctypes
import os
import signal
from pathlib import Path

from artifacts.settings import Settings

ROOT = Path(__file__).parents[1]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` dies, by a kill -9 too: none keeps a port, a lock, the memory."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def environment(settings: Settings) -> dict[str, str]:
    """For a process of our own code (`python -m`) with the same settings, wherever it is started."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **settings.environ(), "PYTHONPATH": path}
