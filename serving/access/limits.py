"""How many requests each key may make: a token bucket, kept as one moment (GCRA, ITU-T I.371).

The moments lie in memory that all web processes of a server share, so that a limit holds for the server, over whichever
processes the kernel divides a client's connections. Nothing is locked: a process that is killed must not stop the
others. Of two that count the same key at the same instant one count may be lost, which lets a request more pass.
"""

import math
import mmap
import time

from serving.access.keys import MOST
from serving.errors import RateLimited

ROUNDING = 0.001  # of a request: sums of floats are not exact
_BYTES = 8  # of a float64


class Limits:
    """To be made before the processes are forked.

    Args:
        rate: requests a second; 0: any number.
        burst: requests that may come at once after a pause; 0: those of one second.
    """

    def __init__(self, rate: int, burst: int) -> None:
        self._rate = rate
        self._interval = 1 / rate if rate else 0.0
        self._slack = ((burst or rate) - 1 + ROUNDING) * self._interval
        # By a key's number: the moment at which the bucket is full again, on the clock that all processes have.
        self._full = memoryview(mmap.mmap(-1, MOST * _BYTES)).cast("d")

    def take(self, number: int) -> None:
        """Count a request of the key that has this number.

        Raises:
            RateLimited: it has made too many.
        """
        if not self._rate:
            return
        now = time.monotonic()
        full = max(now, self._full[number])
        early = full - now - self._slack
        if early > 0:
            raise RateLimited(f"this key may make {self._rate:,} requests a second; slow down", math.ceil(early))
        self._full[number] = full + self._interval
