"""The durable buffer: every record is on disk before any sink sees it, and stays until each sink has settled it.

The promise: a reading is durable when its group commit returns; a kill or power cut loses at most one commit interval
and the poll in flight; delivery is at least once, and a replay is byte-identical and carries the acquisition time, so
it overwrites itself; the oldest goes first when full, every drop is counted; a damaged record costs itself, a damaged
file never blocks the start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.model import BufferStats, Readings

FILE_NAME = "buffer.sqlite"
"""In the data directory of a site."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Records lent to one sink. They stay on disk until ``settle``; an unsettled lease is simply lent again."""

    sink: str
    first: int
    """Sequence number of the first blob that the lease covers."""
    last: int
    """… and of the last one, inclusive."""
    records: Sequence[Readings]
    blobs: tuple[tuple[int, int], ...] = ()
    """(sequence number, records) of each blob lent: how the buffer keeps count of what is pending."""


class Buffer(Protocol):
    """What the rest of the gateway sees of a buffer. One contract suite runs on every kind."""

    def put(self, readings: Readings) -> None:
        """Take a record. Never waits: it is durable after the next group commit."""
        ...

    async def flush(self) -> None:
        """Commit now; return when everything put so far is durable."""
        ...

    async def durable(self) -> None:
        """Return when everything put so far is durable, with the group commit that comes anyway."""
        ...

    def hurry(self) -> None:
        """Let the next group commit come at once."""
        ...

    async def lease(self, sink: str, max_values: int) -> Lease:
        """Wait until there is something for this sink and lend the next records, live lane before back-fill.

        At least one blob is lent, however large. Blobs that are damaged are skipped and counted.
        """
        ...

    async def settle(self, lease: Lease, rejected: Mapping[int, str]) -> None:
        """Mark a lease as done. ``rejected`` (index into records -> reason) goes to the quarantine first."""
        ...

    async def recent(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[tuple[int, float | None]]:
        """Single readings of the kept tail, oldest first, None where the reading was not good."""
        ...

    def replay(self, from_ms: int) -> AsyncIterator[Readings]:
        """Every durable record acquired at or after that time, oldest first: rebuilds the open minute after a start."""
        ...

    def stats(self) -> BufferStats:
        """The buffer in numbers; cheap, never touches the disk."""
        ...

    async def close(self) -> None:
        """Commit what is in memory and release the file. May be called twice."""
        ...
