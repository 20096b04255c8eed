"""`tintype` whose newer versions are in trouble, once they are loaded and proven: `slow@2` sleeps, `failing@2` raises.

    python -m tests.troubled serve …

The trouble is that of the model's name; every other version is as it is.
"""

import sys
import time

import tintype
from serving.engine import local

SECONDS = 0.2
PROVEN = 1  # every first version


class Sleeps:
    """A runtime that takes its time."""

    def __init__(self, runtime):
        self._runtime = runtime
        self.device = runtime.device

    def run(self, pixels):
        time.sleep(SECONDS)
        return self._runtime.run(pixels)


class Raises(Sleeps):
    """A runtime that breaks."""

    def run(self, pixels):
        raise ZeroDivisionError(f"on {len(pixels)} pictures")


TROUBLES = {"slow": Sleeps, "failing": Raises}


def opened(bundle, *arguments, open_best=local.open_best):
    found = open_best(bundle, *arguments)
    trouble = TROUBLES.get(bundle.name)
    return found if trouble is None or bundle.version == PROVEN else found._replace(runtime=trouble(found.runtime))


local.open_best = opened
if __name__ == "__main__":
    sys.exit(tintype.main(sys.argv[1:]))
