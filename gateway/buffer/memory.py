"""A buffer in memory with the contract of the durable one: for tests, and to compare the durable one with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from gateway.buffer import Lease
from gateway.buffer.lanes import Lanes
from gateway.buffer.reader import Reader
from gateway.model import BufferStats, Readings


class MemoryBuffer:
    """Fulfils ``gateway.buffer.Buffer``; nothing is ever dropped. A "commit" happens every ``commit_rows`` records."""

    def __init__(self, sinks: Sequence[str] = (), *, commit_rows: int = 1) -> None:
        self._readers = {name: Reader(Lanes(0), 0, 0) for name in sinks}
        self._commit_rows = commit_rows
        self._waiting: list[Readings] = []
        self._blobs: list[list[Readings]] = []
        self._closed = False
        self._values = 0
        self.refused: list[tuple[str, Readings, str]] = []
        """The quarantine: sink, record, reason."""

    def put(self, readings: Readings) -> None:
        """Take a record; it counts as durable when ``commit_rows`` are together, or after ``flush``."""
        self._waiting.append(readings)
        if len(self._waiting) >= self._commit_rows:
            self._commit()

    def _commit(self) -> None:
        if not self._waiting:
            return
        self._values += sum(r.good_count for r in self._waiting)
        self._blobs.append(self._waiting)
        for reader in self._readers.values():
            reader.pending += len(self._waiting)
            reader.news.set()
        self._waiting = []

    def power_cut(self) -> None:
        """Lose what was not committed."""
        self._waiting = []

    async def flush(self) -> None:
        """Commit everything put so far."""
        self._commit()

    async def durable(self) -> None:
        """As ``flush``: here no group commit comes by itself."""
        self._commit()

    def hurry(self) -> None:
        """Commit everything put so far."""
        self._commit()

    async def lease(self, sink: str, max_values: int) -> Lease:
        """Wait for records for this sink and lend them; see the contract."""
        reader = self._readers[sink]
        while (within := reader.turn(len(self._blobs))) is None:
            reader.news.clear()
            if self._closed:
                raise RuntimeError("the buffer is closed")
            await reader.news.wait()
        first, end = within
        last, total = first, sum(len(r.values) for r in self._blobs[first])
        while last + 1 < end and (total := total + sum(len(r.values) for r in self._blobs[last + 1])) <= max_values:
            last += 1
        lent = self._blobs[first : last + 1]
        blobs = tuple((first + n, len(blob)) for n, blob in enumerate(lent))
        return Lease(sink, first, last, [r for blob in lent for r in blob], blobs)

    async def settle(self, lease: Lease, rejected: Mapping[int, str]) -> None:
        """Mark a lease as done; what was rejected is in ``refused``."""
        reader = self._readers[lease.sink]
        self.refused += [(lease.sink, lease.records[index], reason) for index, reason in rejected.items()]
        reader.quarantined += len(rejected)
        reader.settle(lease.first, lease.last + 1, lease.blobs)

    async def recent(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[tuple[int, float | None]]:
        """Single readings, oldest first."""
        rows = [
            (r.time_ms, r.values[r.metrics.index(metric)])
            for blob in self._blobs
            for r in blob
            if r.device == device and metric in r.metrics and from_ms <= r.time_ms <= to_ms
        ]
        return sorted(rows, key=lambda row: row[0])

    async def replay(self, from_ms: int) -> AsyncIterator[Readings]:
        """Every committed record of that time or later, in the order of the commits."""
        for record in [r for blob in self._blobs for r in blob if r.time_ms >= from_ms]:
            yield record

    def stats(self) -> BufferStats:
        """The buffer in numbers; it takes no disk."""
        for reader in self._readers.values():
            first = reader.lanes.first
            reader.oldest_ms = self._blobs[first][0].time_ms if first < len(self._blobs) else None
        return BufferStats(
            records=sum(len(blob) for blob in self._blobs),
            values=self._values,
            bytes_on_disk=0,
            max_bytes=0,
            dropped_records=0,
            damaged_records=0,
            hours_left=None,
            sinks=tuple(reader.stats(name) for name, reader in self._readers.items()),
        )

    async def close(self) -> None:
        """Commit and wake who waits. May be called twice."""
        self._commit()
        self._closed = True
        for reader in self._readers.values():
            reader.news.set()
