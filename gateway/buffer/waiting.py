"""Records between ``put`` and their group commit: the only part of the buffer that a power cut can take. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gateway.model import Readings

_RECORD_BYTES, _VALUE_BYTES = 24, 9


class Waiting:
    """A bounded queue; the oldest go first when the disk takes nothing for long."""

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes`` counts records as they are packed: about four times that in Python objects."""
        self._max_bytes = max_bytes
        self._queue: deque[Readings] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, readings: Readings) -> None:
        """Take a record; ``trim`` keeps the bound."""
        self._queue.append(readings)
        self.bytes += _RECORD_BYTES + _VALUE_BYTES * len(readings.values)

    def take(self, most: int) -> list[Readings]:
        """Hand over the oldest records."""
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        self.bytes -= _size(taken)
        return taken

    def put_back(self, records: Sequence[Readings]) -> None:
        """Take records again that could not be stored: they are the oldest."""
        self._queue.extendleft(reversed(records))
        self.bytes += _size(records)

    def trim(self) -> list[Readings]:
        """Let the oldest go until the bound is kept, and return them."""
        lost = []
        while self.bytes > self._max_bytes and self._queue:
            lost += self.take(1)
        return lost


def _size(records: Sequence[Readings]) -> int:
    return _RECORD_BYTES * len(records) + _VALUE_BYTES * sum(len(r.values) for r in records)
