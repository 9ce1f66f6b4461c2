"""One sink as the buffer sees it: what it still has to get, and the counts that people see."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.buffer.lanes import Interval, Lanes
from gateway.model import SinkStats


@dataclass(slots=True)
class Reader:
    """Lives on the event loop; the storage thread only sees ``lanes``, which are immutable."""

    lanes: Lanes
    pending: int
    """Records."""
    quarantined: int
    oldest_ms: int | None = None
    turns: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is more to lend."""

    def turn(self, next_seq: int) -> Interval | None:
        """Return what to lend from next; None when nothing is left."""
        self.lanes = self.lanes.split(next_seq)
        within = self.lanes.turn(next_seq, self.turns)
        if within is not None:
            self.turns += 1
        return within

    def settle(self, first: int, end: int, blobs: Iterable[tuple[int, int]] = ()) -> None:
        """Take an interval from what is left; ``blobs`` are the (number, records) that lay in it."""
        self.forget(blobs)
        self.lanes = self.lanes.without(first, end)

    def forget(self, blobs: Iterable[tuple[int, int]]) -> None:
        """These blobs need not be sent any more: settled, dropped or damaged."""
        for seq, records in blobs:
            if seq in self.lanes:
                self.pending -= records
                self.lanes = self.lanes.without(seq, seq + 1)

    def stats(self, name: str) -> SinkStats:
        """In numbers."""
        return SinkStats(name, self.pending, self.oldest_ms if self.pending else None, self.quarantined)
