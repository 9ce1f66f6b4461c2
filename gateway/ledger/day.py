"""Local time of a site: which block, day, night, calendar day or month a minute belongs to. Pure.

All spans are half open and in Unix milliseconds: 22:00:00 belongs to the night. They are found from instants, never by
adding hours to local times, so they hold where clocks are changed: a calendar day may then have 23 or 25 hours.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.ledger.minute import MINUTE_MS

BLOCK_MINUTES = {"1min": 1, "5min": 5, "15min": 15, "20min": 20, "60min": 60}
"""Windows aligned to the full local hour."""
LENGTHS = (*BLOCK_MINUTES, "day", "night", "24h", "month")
_ONE_DAY = timedelta(days=1)


class Span(NamedTuple):
    """A stretch of time, half open."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Time zone of a site and the hours at which its day and its night begin."""

    zone: ZoneInfo
    day_begins: time = time(6)
    night_begins: time = time(22)

    def __post_init__(self) -> None:
        if not self.day_begins < self.night_begins:
            raise ValueError("the day must begin before the night, both between 00:00 and 23:59")
        if any(t.second or t.microsecond for t in (self.day_begins, self.night_begins)):
            raise ValueError("day and night begin at a full minute")

    def date_of(self, ms: int) -> date:
        """Return the local date. The date of a window is that of its start: a night is filed where it begins."""
        return self._local(ms).date()

    def at_ms(self, day: date, at: time) -> int:
        """Return when a clock on the site first shows that time; where it is skipped, the moment of the change."""
        local = datetime.combine(day, at, self.zone)
        ms = _unix_ms(local)
        if self._local(ms).time() == at:
            return ms
        return self._change(_unix_ms(local.replace(fold=1)), ms)

    def period(self, ms: int) -> Span:
        """Return the day or the night that a moment belongs to."""
        day = self._day(ms)
        bounds = _bounds(self, day)
        if ms < bounds.day_ms:
            return Span(_bounds(self, day - _ONE_DAY).night_ms, bounds.day_ms)
        if ms < bounds.night_ms:
            return Span(bounds.day_ms, bounds.night_ms)
        return Span(bounds.night_ms, _bounds(self, day + _ONE_DAY).day_ms)

    def is_night(self, ms: int) -> bool:
        """True from the hour at which the night begins until the day does."""
        bounds = _bounds(self, self._day(ms))
        return not bounds.day_ms <= ms < bounds.night_ms

    def night_minutes(self, span: Span) -> int:
        """Return how many minutes of a span are night."""
        at, total = span.start_ms, 0
        while at < span.end_ms:
            end_ms = min(self.period(at).end_ms, span.end_ms)
            if self.is_night(at):
                total += end_ms - at
            at = end_ms
        return total // MINUTE_MS

    def window(self, length: str, ms: int, *, cut: bool = False) -> Span | None:
        """Return the fixed window around a moment; None for the day at night and the night by day.

        ``cut``: blocks end where day and night meet, as an equivalent level must. A change of the clock cuts always.
        """
        if length in BLOCK_MINUTES:
            block = self._block(BLOCK_MINUTES[length] * MINUTE_MS, ms)
            if not cut:
                return block
            period = self.period(ms)
            return Span(max(block.start_ms, period.start_ms), min(block.end_ms, period.end_ms))
        if length in ("day", "night"):
            return self.period(ms) if self.is_night(ms) == (length == "night") else None
        day = self._day(ms)
        if length == "24h":
            return Span(_bounds(self, day).midnight_ms, _bounds(self, day + _ONE_DAY).midnight_ms)
        if length == "month":
            first = day.replace(day=1)
            following = (first + timedelta(days=31)).replace(day=1)
            return Span(_bounds(self, first).midnight_ms, _bounds(self, following).midnight_ms)
        raise ValueError(f"{length!r} is not a window; use one of {', '.join(LENGTHS)}")

    def next_window(self, length: str, ms: int, *, cut: bool = False) -> Span:
        """Return the first fixed window that begins at a moment or later."""
        at = ms
        while True:
            found = self.window(length, at, cut=cut)
            if found is not None and found.start_ms >= ms:
                return found
            at = self.period(at).end_ms if found is None else found.end_ms

    def _block(self, length_ms: int, ms: int) -> Span:
        offset_ms = self._offset_ms(ms)
        start_ms = ms - (ms + offset_ms) % length_ms
        end_ms = start_ms + length_ms
        if self._offset_ms(start_ms) != offset_ms:
            start_ms = self._change(start_ms, ms)
        if self._offset_ms(end_ms - MINUTE_MS) != offset_ms:
            end_ms = self._change(ms - ms % MINUTE_MS, end_ms)
        return Span(start_ms, end_ms)

    def _day(self, ms: int) -> date:
        """Return the date between whose midnights a moment lies: clocks set back at midnight show a date twice."""
        day = self.date_of(ms)
        if ms < _bounds(self, day).midnight_ms:
            return day - _ONE_DAY
        return day + _ONE_DAY if ms >= _bounds(self, day + _ONE_DAY).midnight_ms else day

    def _local(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms / 1000, self.zone)

    def _offset_ms(self, ms: int) -> int:
        return int((self._local(ms).utcoffset() or timedelta()) / timedelta(milliseconds=1))

    def _change(self, from_ms: int, to_ms: int) -> int:
        """Return the full minute after ``from_ms``, up to ``to_ms``, at which the clock is changed."""
        before = self._offset_ms(from_ms)
        minutes = range(from_ms, to_ms + MINUTE_MS, MINUTE_MS)
        return minutes[bisect_left(minutes, True, key=lambda ms: self._offset_ms(ms) != before)]


class _Bounds(NamedTuple):
    midnight_ms: int
    day_ms: int
    night_ms: int


@lru_cache(maxsize=512)
def _bounds(calendar: Calendar, day: date) -> _Bounds:
    hours = (time(0), calendar.day_begins, calendar.night_begins)
    return _Bounds(*(calendar.at_ms(day, hour) for hour in hours))


def _unix_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
