"""`tintype worker` with a model that takes SLEEP seconds a picture and no processor, as on a device of its own.

    SLEEP=0.02 python -m tests.sleeping_worker ARGUMENTS…

Everything else is as it is: the answers are those of the model.
"""

import os
import sys
import time

import tintype
from serving.engine import local

SECONDS = float(os.environ["SLEEP"])
BEST_BATCH = 4  # few: a worker that took all that waits would leave the others without work


class Sleeping:
    """A runtime that sleeps, then answers as the other one."""

    def __init__(self, runtime):
        self._runtime = runtime
        self.device = runtime.device

    def run(self, pixels):
        time.sleep(SECONDS * len(pixels))
        return self._runtime.run(pixels)


def opened(*arguments, open_best=local.open_best):
    found = open_best(*arguments)
    return found._replace(best_batch=BEST_BATCH, runtime=Sleeping(found.runtime))


if __name__ == "__main__":  # the processes that decode for it import this, too
    local.open_best = opened
    sys.exit(tintype.main(["worker", *sys.argv[1:]]))
