"""The access log: one JSON line a request, written in bulk."""

import logging
from collections import deque
from collections.abc import Sequence
from itertools import islice
from json.encoder import encode_basestring_ascii as quoted
from time import monotonic, sleep

import numpy as np

from serving.records import Record
from serving.telemetry.outlets import Outlet

WAITING = 10_000  # lines that wait for a slow reader, about 4 MB; more are dropped
_METHOD = 16  # characters; a client may make up any, and a line must fit into a pipe's piece
_PAUSE = 0.01  # seconds between two tries at the end
# A template: json.dumps takes four times as long, and a server writes thousands of lines a second.
_LINE = (
    '{"time":"%sZ","request_id":%s,"method":%s,"route":%s,"status":%d,"outcome":%s,"model":%s,"version":%d,'
    '"variant":%s,"pictures":%d,"refused":%d,"decode_ms":%.3f,"wait_ms":%.3f,"infer_ms":%.3f,"total_ms":%.3f,'
    '"batch":%d,"caller":%s}\n'
)

log = logging.getLogger(__name__)


class AccessLog:
    """Lines on their way to an outlet. A reader that does not read loses lines, and holds up nobody."""

    def __init__(self, outlet: Outlet) -> None:
        self.dropped = 0
        self._outlet = outlet
        self._waiting: deque[bytes] = deque()
        self._broken = False

    def write(self, records: Sequence[Record]) -> None:
        """Write a line for each record, oldest first, as far as they are taken; the rest goes first next time."""
        room = WAITING - len(self._waiting)
        self._waiting.extend(lines(records[:room]))
        self.dropped += max(0, len(records) - room)
        self._send()

    def close(self, seconds: float) -> None:
        """Write what waits if that is possible within `seconds`."""
        until = monotonic() + seconds
        while self._waiting and monotonic() < until:
            self._send()
            sleep(_PAUSE if self._waiting else 0)
        self.dropped += len(self._waiting)
        self._outlet.close()

    def _send(self) -> None:
        try:
            while self._waiting and self._send_piece():
                self._broken = False
        except OSError as error:
            if not self._broken:  # said once, not five times a second
                log.warning("the access log cannot be written, lines are dropped: %s", error.strerror)
            self._broken = True
            self.dropped += len(self._waiting)
            self._waiting.clear()

    def _send_piece(self) -> bool:
        """Write as many whole lines as the outlet may be given at a time; whether it took them all."""
        size = number = 0
        for line in self._waiting:
            size += len(line)
            if number and size > self._outlet.limit:
                break
            number += 1
        piece = b"".join(islice(self._waiting, number))
        taken = self._outlet.write(piece)
        for _ in range(number if taken else 0):
            self._waiting.popleft()
        if 0 < taken < len(piece):
            self._waiting.extendleft(reversed(piece[taken:].splitlines(keepends=True)))
        return taken == len(piece)


def lines(records: Sequence[Record]) -> list[bytes]:
    """Records as JSON lines."""
    started = np.array([each.started for each in records]) * 1000
    times = np.datetime_as_string(started.astype("datetime64[ms]")).tolist()  # RFC 3339, in UTC, without its Z
    return [
        (
            _LINE
            % (
                moment,
                quoted(each.request_id),
                quoted(each.method[:_METHOD]),
                quoted(each.route),
                each.status,
                quoted(each.outcome),
                quoted(each.model),
                each.version,
                quoted(each.variant),
                each.pictures,
                each.refused,
                1000 * each.decode,
                1000 * each.wait,
                1000 * each.infer,
                1000 * each.total,
                each.batch,
                quoted(each.caller),
            )
        ).encode()
        for moment, each in zip(times, records, strict=True)
    ]
