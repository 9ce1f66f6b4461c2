"""The minute ledger: closes minutes, keeps them on disk, answers for charts, windows and reports.

A minute is closed two seconds after its end. A reading that comes later opens it again: the part is merged with the
stored row and the corrected minute returned once more. A minute that is stored was complete for all series but for
such late readings, so after a kill only younger ones are built again from the buffer. An orderly stop stores the open
minute as well, and notes for each device how far it goes.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import structlog

from gateway.clock import Clock
from gateway.ledger import file
from gateway.ledger.bucket import Bucket
from gateway.ledger.minute import MINUTE_MS, CounterState, DeviceMinute, Minute, Track, kind_of
from gateway.model import Readings, Series
from gateway.storage import SqliteThread
from gateway.vocabulary import Kind, is_of_ourselves

log = structlog.get_logger()

GRACE_MS = 2_000
_AHEAD_MS = 5_000
"""A device stamp further in the future than this does not make what follows late."""
_PRUNE_EVERY_S = 3600.0
_PRUNE_HOURS = 24
"""Hours with minutes deleted per prune at most: a clock that leaps ahead costs a day per hour, not the whole ledger."""
_MOST_UNSTORED = 100_000
NO_PARTS: Mapping[str, int] = {}
T = TypeVar("T")
_Read: TypeAlias = Callable[[sqlite3.Connection, file.Question, int, Sequence[Minute]], tuple[list[T], int]]


class Ledger:
    """Fulfils the page's MinuteHistory. Made by ``open``."""

    def __init__(
        self,
        db: SqliteThread,
        found: file.Contents,
        series: Sequence[Series],
        keep_s: tuple[float, float],
        clock: Clock,
    ) -> None:
        self._db = db
        self._keep_other_s, self._keep_regulated_s = keep_s
        self._clock = clock
        self._expected: dict[str, dict[str, float]] = {}
        self._tracks: dict[str, Track] = {}
        for each in series:
            self._expected.setdefault(each.device, {})[each.metric] = 60.0 / each.every_s
            if kind_of(each.metric) is Kind.COUNTER:
                self._track(each.device).counters[each.metric] = CounterState(each.wrap)
        for device, metric, last, last_ms in found.counters:
            track = self._track(device)
            track.counters.setdefault(metric, CounterState()).last = last
            track.newest_ms = max(track.newest_ms, min(last_ms, clock.wall_ms() + _AHEAD_MS))
        self._open: dict[tuple[str, int], DeviceMinute] = {}
        self._unstored: list[Minute] = []
        self._total = found.minutes
        self._stored_ms = self._replay_after_ms = found.last_ms
        self._parts = found.parts
        self._pruned_s = clock.monotonic_s()
        self._failing = False
        self.lost_minutes = 0
        """Minute rows that memory could not hold while the disk took nothing."""
        self._asides = 0
        self._report_asides()

    @classmethod
    async def open(
        cls,
        path: Path,
        series: Sequence[Series],
        keep_regulated_s: float,
        keep_other_s: float,
        clock: Clock,
    ) -> Ledger:
        """Open or begin the file. Raises StoreBusy, or OSError when the directory cannot be used."""
        db = await SqliteThread.open(path, file.SCHEMA)
        try:
            found = await db.load(lambda conn: file.load(conn, clock.wall_ms()))
        except BaseException:
            await db.close()
            raise
        return cls(db, found, series, (keep_other_s, keep_regulated_s), clock)

    # --- in ------------------------------------------------------------------------------------------------

    def put(self, readings: Readings) -> None:
        """Take a record, however late. Never waits."""
        start_ms = readings.time_ms - readings.time_ms % MINUTE_MS
        key = (readings.device, start_ms)
        minute = self._open.get(key)
        if minute is None:
            minute = self._open[key] = DeviceMinute(*key, self._track(readings.device))
        minute.put(readings)

    def replay(self, readings: Readings) -> None:
        """Take a record of the buffer after a start; ignored where its minute was stored.

        So is what is no reading: statistics, and what the gateway said of itself.
        """
        after_ms = self._replay_after_ms
        if after_ms is not None and readings.time_ms < self._parts.get(readings.device, after_ms + MINUTE_MS):
            return
        if not readings.is_minute and not is_of_ourselves(readings.metrics[0]):
            self.put(readings)

    async def close_minutes(self, now_ms: int) -> list[Minute]:
        """Store the minutes that ended two seconds ago and return them; call every second.

        A minute comes again, corrected, after late readings. While the disk takes nothing they wait and come later.
        """
        fresh = self._unstored
        self._unstored = []
        for key in [key for key in self._open if self._is_over(key[1], now_ms)]:
            minute = self._open.pop(key)
            fresh += minute.minutes(self._expected.get(minute.device, {}))
            await asyncio.sleep(0)  # a hundred devices at once must not hold up the wires
        for track in self._tracks.values():
            track.newest_ms = min(track.newest_ms, now_ms + _AHEAD_MS)
        try:
            stored = await self._store(fresh) if fresh else []
        except (sqlite3.Error, OSError) as error:
            self._keep_for_later(fresh, error)
            return []
        if self._failing and fresh:
            log.info("ledger writes again", file=str(self._db.path))
            self._failing = False
        await self._prune(now_ms)
        return stored

    def _keep_for_later(self, minutes: list[Minute], error: Exception) -> None:
        if not self._failing:
            log.error("ledger cannot write, minutes wait in memory", file=str(self._db.path), error=str(error))
        self._failing = True
        waiting = [*minutes, *self._unstored]
        self._unstored = waiting[-_MOST_UNSTORED:]
        self.lost_minutes += len(waiting) - len(self._unstored)

    def _is_over(self, start_ms: int, now_ms: int) -> bool:
        # a minute of the future (a wrong device clock, our own set back) is not kept open until its time comes
        return start_ms + MINUTE_MS + GRACE_MS <= now_ms or start_ms > now_ms + MINUTE_MS

    async def _store(self, minutes: list[Minute], parts: Mapping[str, int] = NO_PARTS) -> list[Minute]:
        ahead_ms = self._clock.wall_ms() + _AHEAD_MS
        stored, self._total = await self._db.load(
            lambda conn: file.store(conn, minutes, self._expected_of, ahead_ms, parts)
        )
        self._report_asides()
        self._stored_ms = max([self._stored_ms or 0, *(m.start_ms for m in stored)])
        return stored

    async def _prune(self, now_ms: int) -> None:
        if self._clock.monotonic_s() - self._pruned_s < _PRUNE_EVERY_S:
            return
        self._pruned_s = self._clock.monotonic_s()
        for regulated, keep_s in ((False, self._keep_other_s), (True, self._keep_regulated_s)):
            before_ms = now_ms - int(keep_s * 1000)
            for _ in range(_PRUNE_HOURS):
                try:
                    gone, self._total = await self._db.load(lambda conn: file.prune(conn, regulated, before_ms))  # noqa: B023
                except (sqlite3.Error, OSError) as error:
                    log.warning("ledger cannot prune, trying again later", file=str(self._db.path), error=str(error))
                    return
                if not gone:
                    break

    # --- out -----------------------------------------------------------------------------------------------

    async def history(self, device: str, metric: str, from_ms: int, to_ms: int, step_s: float) -> list[Bucket]:
        """Steps that hold anything, oldest first, with the open minute. Steps are whole minutes counted from 1970."""
        step_ms = max(1, round(step_s / 60)) * MINUTE_MS
        return await self._answer(file.buckets, device, metric, from_ms, to_ms, step_ms)

    async def minutes(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[Minute]:
        """Minutes of one series that began in that time, oldest first, with the open one."""
        first_ms = from_ms + -from_ms % MINUTE_MS
        return await self._answer(file.minutes, device, metric, first_ms, to_ms, MINUTE_MS)

    async def _answer(
        self, read: _Read[T], device: str, metric: str, from_ms: int, to_ms: int, step_ms: int
    ) -> list[T]:
        expected = self._expected_of(device, metric)
        first_ms = from_ms - from_ms % step_ms
        q = file.Question(device, metric, first_ms, to_ms, step_ms, expected, self._clock.wall_ms())
        result: list[T] = []
        cursor_ms = first_ms
        while cursor_ms < to_ms:
            # asked for anew at each turn: what is closed in between is stored by then, and must not count twice
            fresh = list(self._fresh(device, metric))
            found, cursor_ms = await self._db.load(lambda conn: read(conn, q, cursor_ms, fresh))  # noqa: B023
            result += found
        return result

    def _fresh(self, device: str, metric: str) -> Iterable[Minute]:
        """Minutes of a series that are not stored yet."""
        yield from (m for m in self._unstored if (m.device, m.metric) == (device, metric))
        for minute in self._open.values():
            if minute.device == device:
                yield from (m for m in minute.minutes(self._expected.get(device, {})) if m.metric == metric)

    async def stored_since(self, from_ms: int) -> list[Minute]:
        """Every stored minute that began at that time or later: to send them again after a kill."""
        return await self._db.load(lambda conn: file.since(conn, from_ms))

    def last_stored_ms(self) -> int | None:
        """Start of the last minute stored; None while there is none. After a start, replay the buffer from here."""
        return self._stored_ms

    def minutes_total(self) -> int:
        """Minute rows stored."""
        return self._total

    def bytes_on_disk(self) -> int:
        """Size of the file and its log."""
        return self._db.bytes_on_disk()

    async def flush(self) -> list[Minute]:
        """Store everything and return it, the open minute too: what follows after the next start joins it."""
        fresh, parts = self._unstored, {}
        for minute in self._open.values():
            fresh += minute.minutes(self._expected.get(minute.device, {}))
            parts[minute.device] = self._track(minute.device).newest_ms + 1
        self._open, self._unstored = {}, []
        try:
            return await self._store(fresh, parts) if fresh else []
        except (sqlite3.Error, OSError) as error:
            log.error("ledger could not store its last minutes", file=str(self._db.path), error=str(error))
            return []

    async def close(self) -> None:
        """Store everything and release the file. May be called twice."""
        await self.flush()
        await self._db.close()

    def _expected_of(self, device: str, metric: str) -> float:
        return self._expected.get(device, {}).get(metric, 0.0)

    def _track(self, device: str) -> Track:
        track = self._tracks.get(device)
        if track is None:
            track = self._tracks[device] = Track()
        return track

    def _report_asides(self) -> None:
        for aside in self._db.set_aside[self._asides :]:
            log.error("ledger file set aside, a new one begun", path=str(aside.path), reason=aside.reason)
        self._asides = len(self._db.set_aside)
