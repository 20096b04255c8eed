"""What was asked lately: a census of a sliding window, for each version that answered.

records -> slices of this process -> [text of each process, in a folder] -> the sum over all that live
"""

import json
import time
from collections.abc import Sequence
from http import HTTPStatus

from artifacts.census import Census
from serving.records import Record
from serving.telemetry.snapshots import Snapshots

SLICES = 12  # of a window: what is older than all of them is forgotten, a slice at a time

Version = tuple[str, int]  # name and version of a model


class Windows:
    """Those of this process, and of the others that it can read of. Not for several threads at a time."""

    def __init__(self, seconds: float, snapshots: Snapshots | None = None) -> None:
        self.seconds = seconds
        self._snapshots = snapshots
        self._slices: dict[Version, dict[int, Census]] = {}
        self._published = ""

    def add(self, records: Sequence[Record]) -> None:
        """Count the pictures that were looked at, of requests that were answered."""
        number = self._number()
        for record in records:
            if record.looks and record.status == HTTPStatus.OK:
                slices = self._slices.setdefault((record.model, record.version), {})
                counted = slices.setdefault(number, Census())
                for look in record.looks:
                    counted.add(look)

    def publish(self) -> None:
        """Let the other processes know.

        Raises:
            OSError: it cannot be written.
        """
        text = _text(self._own())
        if self._snapshots and text != self._published:
            self._snapshots.publish(text)
            self._published = text

    def everyones(self) -> dict[Version, Census]:
        """The sum over all processes that live."""
        found = self._own()
        others = self._snapshots.others().values() if self._snapshots else ()
        for told in (each.text for each in others if each.alive):
            for name, version, census in json.loads(told):
                found.setdefault((name, version), Census()).update(Census.of_json(census))
        return found

    def _own(self) -> dict[Version, Census]:
        """This process's, without what is too old."""
        oldest = self._number() - SLICES
        found = {}
        for version, slices in list(self._slices.items()):
            for number in [number for number in slices if number <= oldest]:
                del slices[number]
            if not slices:
                del self._slices[version]
                continue
            whole = found[version] = Census()
            for counted in slices.values():
                whole.update(counted)
        return found

    def _number(self) -> int:
        """Of the slice that is being filled."""
        return int(time.monotonic() / self.seconds * SLICES)


def _text(windows: dict[Version, Census]) -> str:
    return json.dumps([[name, version, census.to_json()] for (name, version), census in windows.items()])
