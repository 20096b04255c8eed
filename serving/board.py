"""Which of a server's web processes are at work: a byte each, in memory that they share.

A lone request of a slow model may have all cores, but only while the other processes need none.
"""

import mmap

IDLE, BUSY = 0, 1


class Board:
    """Made before the processes are forked; each then writes at its own place."""

    def __init__(self, places: int) -> None:
        self._bytes = mmap.mmap(-1, places)
        self._place = 0

    def take(self, place: int) -> None:
        """This process's place from now on; whoever had it before is gone."""
        self._place = place
        self.note(busy=False)

    def note(self, *, busy: bool) -> None:
        """Say whether this process is at work."""
        self._bytes[self._place] = BUSY if busy else IDLE

    def others_are_idle(self) -> bool:
        """Whether no other process is at work, at this moment."""
        return not any(self._bytes[place] for place in range(len(self._bytes)) if place != self._place)
