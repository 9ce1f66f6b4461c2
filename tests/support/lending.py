"""The part of a buffer that a pump needs, in plain sight: tests look at ``waiting``, ``settled`` and ``refused``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.buffer import Lease
from gateway.model import BufferStats, Readings, SinkStats


class LendingBuffer:
    """One sink, one blob per ``put``; a lease covers as many blobs as fit into ``max_values``, at least one."""

    def __init__(self, sink: str) -> None:
        self._sink = sink
        self._first = 0
        self._changed = asyncio.Condition()
        self.waiting: list[list[Readings]] = []
        self.leased_values: list[int] = []
        """What each lease asked for."""
        self.settled: list[Readings] = []
        self.refused: dict[str, str] = {}
        """Device -> reason."""

    async def put(self, *blob: Readings) -> None:
        async with self._changed:
            self.waiting.append(list(blob))
            self._changed.notify_all()

    async def until_settled(self, records: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.settled) >= records)

    async def lease(self, sink: str, max_values: int) -> Lease:
        assert sink == self._sink
        self.leased_values.append(max_values)
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self.waiting))
        blobs, values = 0, 0
        for blob in self.waiting:
            values += sum(len(r.metrics) for r in blob)
            if blobs and values > max_values:
                break
            blobs += 1
        records = [record for blob in self.waiting[:blobs] for record in blob]
        return Lease(sink, self._first, self._first + blobs - 1, records)

    async def settle(self, lease: Lease, rejected: Mapping[int, str]) -> None:
        assert lease.first == self._first
        async with self._changed:
            del self.waiting[: lease.last - lease.first + 1]
            self._first = lease.last + 1
            self.settled += lease.records
            self.refused |= {lease.records[index].device: reason for index, reason in rejected.items()}
            self._changed.notify_all()

    def stats(self) -> BufferStats:
        pending = sum(len(blob) for blob in self.waiting)
        return BufferStats(0, 0, 0, 0, 0, 0, None, (SinkStats(self._sink, pending, None, 0),))
