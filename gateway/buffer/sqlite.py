"""The durable buffer on disk, the event loop's side. The SQL is in ``file``, the thread in ``gateway.storage``.

Invariants: a blob number is given once. Only committed blobs are lent. What a sink has settled is stored with a later
group commit, never before the blob; lost progress only means that equal records are sent again. When the disk takes
nothing, records wait in a bounded part of memory, polling goes on, and the next tick tries again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import structlog

from gateway.buffer import Lease, file
from gateway.buffer.blob import is_storable
from gateway.buffer.export import describe
from gateway.buffer.reader import Reader
from gateway.buffer.timing import Ages, DiskState, WriteRate
from gateway.buffer.waiting import Waiting
from gateway.clock import Clock
from gateway.model import BufferStats, Readings
from gateway.storage import SqliteThread, is_damage

log = structlog.get_logger()
T = TypeVar("T")

MEMORY_BYTES = 4 * 1024 * 1024
"""Of records that wait for the disk."""
_SLICE_BLOBS = 32
"""Read at once for the page: a commit never waits longer than that takes."""
_SLICE_VALUES = 20_000


class SqliteBuffer:
    """Fulfils ``gateway.buffer.Buffer``. Made by ``open``."""

    def __init__(
        self, db: SqliteThread, found: file.Contents, clock: Clock, commit_rows: int, commit_bytes: int, keep_s: float
    ) -> None:
        self._db = db
        self._clock = clock
        self._commit_rows, self._commit_bytes = commit_rows, commit_bytes
        self._next_seq = found.next_seq
        self._readers = {
            name: Reader(lanes, found.pending[name], found.quarantined[name], found.oldest_ms[name])
            for name, lanes in found.lanes.items()
        }
        self._waiting = Waiting(max(MEMORY_BYTES, 2 * commit_bytes))
        self._group: list[Readings] = []
        self._gaps: list[file.Gap] = []
        self._refusals: deque[file.Refusal] = deque(maxlen=file.MOST_ROWS)
        self._changed = True
        self._suspicious = False
        self._put_count = 0
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits until so many records are durable, now …"""
        self._waits: list[tuple[int, asyncio.Future[None]]] = []
        """… and with the commit that comes anyway."""
        self._wake = asyncio.Event()
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._ages = Ages(keep_s, clock.monotonic_s(), self._next_seq)
        self._more_to_prune = False
        self._records, self._values, self._dropped, self._damaged = found.records, 0, 0, 0
        self._rate = WriteRate(clock.monotonic_s())
        self._free_bytes, self._bytes_on_disk = db.max_bytes, db.bytes_on_disk()
        self._asides = 0
        self._renewal = asyncio.Lock()
        self._disk = DiskState(str(db.path))
        self._note_asides(lost=0)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        sinks: Sequence[str],
        max_bytes: int,
        commit_every_s: float,
        commit_rows: int,
        commit_bytes: int,
        keep_s: float,
        clock: Clock,
    ) -> SqliteBuffer:
        """Open or begin the file. Raises StoreBusy, or OSError when the directory cannot be used."""
        db = await SqliteThread.open(path, file.SCHEMA, max_bytes=max_bytes)
        try:
            found = await db.load(lambda conn: file.load(conn, sinks))
        except BaseException:
            await db.close()
            raise
        buffer = cls(db, found, clock, commit_rows, commit_bytes, keep_s)
        buffer._tasks = [
            asyncio.create_task(buffer._tick(commit_every_s), name="buffer tick"),
            asyncio.create_task(buffer._commit_when_woken(), name="buffer commit"),
        ]
        return buffer

    # --- in ------------------------------------------------------------------------------------------------

    def put(self, readings: Readings) -> None:
        """Take a record; see the contract."""
        waiting = self._waiting
        waiting.put(readings)
        self._put_count += 1
        if self._is_group_full():
            self._wake.set()
            if lost := waiting.trim():
                self._dropped += len(lost)
                times = [r.time_ms for r in lost]
                self._lose(min(times), max(times), len(lost))

    def _is_group_full(self) -> bool:
        return self._waiting.bytes >= self._commit_bytes or len(self._waiting) >= self._commit_rows

    def _lose(self, from_ms: int, to_ms: int, count: int) -> None:
        cause = "disk failing, memory full"
        if self._gaps and self._gaps[-1][3] == cause:
            from_ms, to_ms = min(from_ms, self._gaps[-1][0]), max(to_ms, self._gaps[-1][1])
            count += self._gaps.pop()[2]
        self._gaps.append((from_ms, to_ms, count, cause))

    async def flush(self) -> None:
        """Commit now; return when everything put so far is durable. OSError when the buffer is closed before that."""
        self.hurry()
        await self._stored(self._flushes)

    async def durable(self) -> None:
        """Return when everything put so far is durable; OSError when the buffer is closed before that."""
        await self._stored(self._waits)

    def hurry(self) -> None:
        """Let the next group commit come at once."""
        self._wake.set()

    async def _stored(self, waits: list[tuple[int, asyncio.Future[None]]]) -> None:
        if self._waiting or self._group:
            done = asyncio.get_running_loop().create_future()
            waits.append((self._put_count, done))
            await done

    async def _tick(self, every_s: float) -> None:
        while True:
            await self._clock.sleep(every_s)
            self._wake.set()

    async def _commit_when_woken(self) -> None:
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            if self._closed or not self._disk.may_try(self._clock.monotonic_s()):
                continue
            while self._has_work() and await self._try_commit():
                if not (self._is_group_full() or self._flushes):
                    break

    def _has_work(self) -> bool:
        self._more_to_prune |= self._ages.advance(self._clock.monotonic_s(), self._next_seq)
        return bool(self._waiting or self._changed or self._more_to_prune)

    async def _try_commit(self) -> bool:
        try:
            await self._commit()
        except (sqlite3.Error, OSError) as error:
            self._disk.failed(error, self._clock.monotonic_s())
            return False
        except (TypeError, ValueError, OverflowError):
            return True  # one record is to blame: the next try leaves it out
        self._disk.worked(self._clock.monotonic_s())
        return True

    async def _commit(self) -> None:
        self._group = self._waiting.take(self._commit_rows)
        if self._suspicious:
            bad = [r for r in self._group if not is_storable(r)]
            self._group = [r for r in self._group if r not in bad]
            self._suspicious = False
            self._dropped += len(bad)
            log.error("buffer: records that cannot be stored left out", records=len(bad), first=repr(bad[:1])[:500])
        gaps, self._gaps = self._gaps, []
        refusals, self._refusals = self._refusals, deque(maxlen=file.MOST_ROWS)
        self._changed = False
        work = file.Work(
            seq=self._next_seq,
            records=self._group,
            lanes={name: reader.lanes for name, reader in self._readers.items()},
            gaps=gaps,
            refusals=tuple(refusals),
            prune_below=self._ages.old_below,
            max_bytes=self._db.max_bytes,
        )
        try:
            done = await self._run(lambda conn: file.commit(conn, work))
        except (sqlite3.Error, OSError, TypeError, ValueError, OverflowError) as error:
            self._suspicious = not isinstance(error, (sqlite3.Error, OSError))
            self._waiting.put_back(self._group)
            self._group = []
            self._gaps[:0] = gaps
            self._refusals.extendleft(reversed(refusals))
            self._changed = True
            raise
        self._account(done)

    def _account(self, done: file.Done) -> None:
        count = len(self._group)
        self._group = []
        now_s = self._clock.monotonic_s()
        self._records += count - done.removed_records
        self._values += done.good_values
        self._dropped += sum(records for _, records in done.dropped)
        self._more_to_prune = done.more_to_prune
        self._rate.add(now_s, done.size)
        self._free_bytes, self._bytes_on_disk = done.free_bytes, self._db.bytes_on_disk()
        for reader in self._readers.values():
            reader.forget(done.dropped)
        if count:
            self._next_seq += 1
        for name, reader in self._readers.items():
            reader.oldest_ms = done.oldest_ms[name]
            reader.pending += count
            if count:
                reader.news.set()
            if reader.lanes.first >= self._next_seq:
                reader.pending = 0
        stored = self._put_count - len(self._waiting)
        for waits in (self._flushes, self._waits):
            for _, future in (ready := [w for w in waits if w[0] <= stored]):
                if not future.done():
                    future.set_result(None)
            waits[:] = [w for w in waits if w not in ready]

    # --- out -----------------------------------------------------------------------------------------------

    async def lease(self, sink: str, max_values: int) -> Lease:
        """Wait for records for this sink and lend them; see the contract. KeyError for a sink not named at open."""
        reader = self._readers[sink]
        while True:
            if self._closed:
                raise RuntimeError("the buffer is closed")
            reader.news.clear()
            within = reader.turn(self._next_seq)
            if within is None:
                await reader.news.wait()
                continue
            try:
                piece = await self._read(within, max_values)
            except (sqlite3.Error, OSError) as error:
                self._disk.failed(error, self._clock.monotonic_s())
                await self._clock.sleep(1.0)
                continue
            if piece is None or not piece.records:
                reader.settle(within[0], within[1] if piece is None else piece.last + 1)
                self._changed = True
                continue
            return Lease(sink, piece.first, piece.last, piece.records, tuple(piece.blobs))

    async def settle(self, lease: Lease, rejected: Mapping[int, str]) -> None:
        """Mark a lease as done; quarantine and progress are stored together by the next group commit."""
        reader = self._readers[lease.sink]
        now_ms = self._clock.wall_ms()
        for index, reason in rejected.items():
            record = json.dumps(asdict(lease.records[index]), ensure_ascii=False)
            self._refusals.append((lease.sink, now_ms, reason, record))
        reader.quarantined = min(file.MOST_ROWS, reader.quarantined + len(rejected))
        reader.settle(lease.first, lease.last + 1, lease.blobs)
        self._changed = True

    async def _read(self, within: tuple[int, int], max_values: int) -> file.Slice | None:
        piece = await self._run(lambda conn: file.read(conn, within, max_values))
        if piece is not None and piece.damaged:
            count = sum(records for _, records in piece.damaged)
            log.error(
                "buffer: damaged blobs left out", file=str(self._db.path), blobs=len(piece.damaged), records=count
            )
            self._records -= count
            self._damaged += count
            for reader in self._readers.values():
                reader.forget(piece.damaged)
        return piece

    async def recent(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[tuple[int, float | None]]:
        """Single readings of the kept tail, oldest first; see the contract."""
        below, found = self._next_seq, list[list[tuple[int, float | None]]]()
        while True:
            # slice by slice, newest first: commits get their turn in between
            slice_below = below
            numbers, rows = await self._run(
                lambda conn: file.column_of(conn, (device, metric), (from_ms, to_ms), slice_below, _SLICE_BLOBS)  # noqa: B023
            )
            found.append(rows)
            if len(numbers) < _SLICE_BLOBS:
                break
            below = numbers[-1]
        return sorted((row for rows in found for row in rows), key=lambda row: row[0])

    async def replay(self, from_ms: int) -> AsyncIterator[Readings]:
        """Every durable record of that time or later, in the order of the commits."""
        first = await self._run(lambda conn: file.since(conn, from_ms))
        end = self._next_seq
        while first is not None and first < end:
            piece = await self._read((first, end), _SLICE_VALUES)
            if piece is None:
                return
            for record in piece.records:
                if record.time_ms >= from_ms:
                    yield record
            first = piece.last + 1

    # --- state ---------------------------------------------------------------------------------------------

    def stats(self) -> BufferStats:
        """The buffer in numbers; the oldest pending times are those of the last commit."""
        rate = self._rate.bytes_per_s(self._clock.monotonic_s())
        return BufferStats(
            records=self._records,
            values=self._values,
            bytes_on_disk=self._bytes_on_disk,
            max_bytes=self._db.allowed_bytes,
            dropped_records=self._dropped,
            damaged_records=self._damaged,
            hours_left=self._free_bytes / rate / 3600 if rate and self._readers else None,
            sinks=tuple(reader.stats(name) for name, reader in self._readers.items()),
            failing=self._disk.failing,
            damaged_files=self._asides,
        )

    async def stat(self) -> dict[str, Any]:
        """The file in numbers, for people: blobs, sinks, gaps."""
        return await self._run(describe)

    async def close(self) -> None:
        """Commit what is in memory and release the file. May be called twice."""
        if self._closed:
            return
        self._closed = True
        ticker, committer = self._tasks
        ticker.cancel()
        self._wake.set()
        await asyncio.gather(ticker, committer, return_exceptions=True)
        while (self._waiting or self._changed) and await self._try_commit():
            pass
        for _, future in self._flushes + self._waits:
            if not future.done():
                future.set_exception(OSError(f"closed before all was durable: {self._disk.failing}"))
        for reader in self._readers.values():
            reader.news.set()
        await self._db.close()

    # --- the file --------------------------------------------------------------------------------------------

    async def _run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run on the storage thread; when the file proves damaged, go on with what can be carried over."""
        before = self._asides
        try:
            return await self._db.run(fn)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            async with self._renewal:
                if before == self._asides:  # else somebody else met the same damage first
                    await self._begin_anew(str(error))
        return await self._db.run(fn)

    async def _begin_anew(self, reason: str) -> None:
        await self._db.begin_anew(reason)
        lanes = {name: reader.lanes for name, reader in self._readers.items()}
        found = await self._db.run(lambda conn: file.load(conn, lanes))
        lost, self._records = max(0, self._records - found.records), found.records
        self._damaged += lost
        pending = await self._db.run(lambda conn: {name: file.pending(conn, each) for name, each in lanes.items()})
        for name, reader in self._readers.items():
            reader.pending = pending[name]
        self._note_asides(lost)

    def _note_asides(self, lost: int) -> None:
        for aside in self._db.set_aside[self._asides :]:
            log.error("buffer file set aside, a new one begun", path=str(aside.path), reason=aside.reason)
            now_ms = self._clock.wall_ms()
            self._gaps.append((now_ms, now_ms, lost, f"file set aside as {aside.path.name}"))
        self._asides = len(self._db.set_aside)
