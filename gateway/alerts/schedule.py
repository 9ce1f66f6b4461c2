"""When a rule holds: hours of the day, season, validity dates, permits and maintenance, in the site's own time. Pure.

Everything is half open: 22:00:00 belongs to the night, and a window that crosses a boundary belongs to neither side.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from gateway.ledger.day import Calendar

DAY_MINUTES = 24 * 60
CHINA = Calendar(ZoneInfo("Asia/Shanghai"))
ScheduleName = Literal["always", "day", "night", "hours"]


@dataclass(frozen=True, slots=True)
class Period:
    """A dated record: a night-work permit (``note`` is its number) or the maintenance of a device. Half open."""

    from_ms: int
    to_ms: int
    device: str | None = None
    note: str = ""

    def holds(self, start_ms: int, end_ms: int) -> bool:
        """True when the whole window lies inside."""
        return self.from_ms <= start_ms and end_ms <= self.to_ms

    def touches(self, start_ms: int, end_ms: int) -> bool:
        """True when any part of the window lies inside."""
        return self.from_ms < end_ms and start_ms < self.to_ms


@dataclass(frozen=True, slots=True)
class When:
    """The times in which a rule is in force."""

    calendar: Calendar = CHINA
    """The site's zone, and where its day and its night begin."""
    name: ScheduleName = "always"
    begin: int = 0
    """For ``hours``: minute of the local day at which they begin."""
    end: int = 0
    """For ``hours``: the first minute after them; they may run over midnight."""
    season: tuple[tuple[int, int], tuple[int, int]] | None = None
    """First and last (month, day), both included; may run over the new year."""
    valid_from: date | None = None
    valid_until: date | None = None
    """The last day on which the rule is the rule."""

    def covers(self, start_ms: int, end_ms: int) -> bool:
        """True when the whole window lies in the schedule, on a date on which the rule holds.

        The date is that of the schedule's beginning: a night counts where it begins.
        """
        first_ms = start_ms
        if self.name in ("day", "night"):
            span = self.calendar.period(start_ms)
            if self.calendar.is_night(start_ms) != (self.name == "night") or end_ms > span.end_ms:
                return False
            first_ms = span.start_ms
        elif self.name == "hours" and not self._in_hours(start_ms, end_ms):
            return False
        return (self.season is None and self.valid_from is None and self.valid_until is None) or self._on(first_ms)

    def _on(self, ms: int) -> bool:
        today = self.calendar.date_of(ms)
        if self.valid_from is not None and today < self.valid_from:
            return False
        if self.valid_until is not None and today > self.valid_until:
            return False
        return self.season is None or _in_season((today.month, today.day), *self.season)

    def _in_hours(self, start_ms: int, end_ms: int) -> bool:
        first, last = self._since_begin(start_ms), self._since_begin(max(start_ms, end_ms - 1))
        length = (self.end - self.begin) % DAY_MINUTES
        return first <= last < length and end_ms - start_ms < DAY_MINUTES * 60_000

    def _since_begin(self, ms: int) -> int:
        moment = datetime.fromtimestamp(ms / 1000, self.calendar.zone)
        return (moment.hour * 60 + moment.minute - self.begin) % DAY_MINUTES


def _in_season(today: tuple[int, int], first: tuple[int, int], last: tuple[int, int]) -> bool:
    return first <= today <= last if first <= last else today >= first or today <= last


ALWAYS = When()
