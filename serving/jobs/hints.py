"""Hints: what those who plan tell those who work. They are small, and may be lost, doubled or late."""

from typing import NamedTuple, Protocol

LIST, CHUNK, FINISH = "list", "chunk", "finish"
ACTS = (LIST, CHUNK, FINISH)


class Hint(NamedTuple):
    """Something to do; `chunk` is -1 where it is not about one."""

    act: str  # one of ACTS
    job: str
    chunk: int = -1

    @property
    def lease(self) -> str:
        """Name of the lease under which it is done."""
        return chunk_lease(self.chunk) if self.act == CHUNK else self.act


class Queue(Protocol):
    """Carries hints to whoever works."""

    def send(self, hint: Hint) -> None:
        """Leave a hint."""

    def waiting(self) -> int:
        """Hints that nobody has taken yet."""


def chunk_lease(number: int) -> str:
    """Name of the lease on a chunk."""
    return f"{number:08d}"
