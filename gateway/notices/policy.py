"""When one channel is told, and of what: few messages, none in vain, none lost without a count. Pure.

Whatever waits when a message may go is in it. So a burst of alarms is one message, and so is what gathered in quiet
hours, behind the hourly limit or while the endpoint could not be reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import time, timedelta
from functools import lru_cache

from gateway.ledger.day import Calendar
from gateway.ledger.minute import MINUTE_MS
from gateway.notices.line import Line, rank

HOUR_MS = 3_600_000
MOST_WAITING = 1000
"""Lines that one channel keeps; beyond it the mildest and oldest are only counted."""
_URGENT = "critical"
_LOUD = frozenset({"began", "worse", "unanswered"})
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours of every day in which only what is severe enough is told."""

    begin: time
    end: time
    but: str
    """The severity from which it is told all the same."""
    calendar: Calendar

    def released_ms(self, ms: int) -> int:
        """Return the end of the quiet hours that a moment lies in; the moment itself where it lies in none."""
        return _released_minute(self, ms // MINUTE_MS) or ms


@lru_cache(maxsize=4096)
def _released_minute(quiet: Quiet, minute: int) -> int | None:
    ms, at_ms = minute * MINUTE_MS, quiet.calendar.at_ms
    today = quiet.calendar.date_of(ms)
    for day in (today - _ONE_DAY, today):
        end_ms = at_ms(day + _ONE_DAY if quiet.end < quiet.begin else day, quiet.end)
        if at_ms(day, quiet.begin) <= ms < end_ms:
            return end_ms
    return None


@dataclass(frozen=True, slots=True)
class Settings:
    """How one channel wants to be told."""

    severity: str
    """Alarms below this are not told."""
    fold_ms: int
    expire_ms: int
    most_per_hour: int
    rules: frozenset[str] | None = None
    """None: all."""
    remind_ms: int | None = None
    quiet: Quiet | None = None

    def wants(self, rule: str) -> bool:
        """True when alarms of this rule are told here."""
        return self.rules is None or rule in self.rules


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now."""

    send: tuple[Line, ...] = ()
    """In one message, the worst first; empty: nothing yet."""
    expired: tuple[Line, ...] = ()
    """Too old to be told: count them."""


def plan(lines: Iterable[Line], settings: Settings, sent_ms: Sequence[int], now_ms: int) -> Plan:
    """Return what to tell now. ``sent_ms`` are the times of messages sent, of the last hour at least.

    All times are wall times because they outlive the process; one that lies ahead of us, after the clock was set back,
    holds nothing up.
    """
    waiting: list[Line] = []
    expired: list[Line] = []
    for line in (_reminded(line, settings, now_ms) for line in lines):
        if line.news:
            (expired if _is_expired(line, settings, now_ms) else waiting).append(line)
    waiting.sort(key=_order)
    expired += waiting[MOST_WAITING:]
    due = [line for line in waiting[:MOST_WAITING] if not _is_held(line, settings.quiet, now_ms)]
    urgent = any(line.severity == _URGENT and _is_loud(line) for line in due)
    if not due or not _may_go(due, urgent, settings, sent_ms, now_ms):
        due = []
    return Plan(tuple(due), tuple(expired))


def _may_go(due: Sequence[Line], urgent: bool, settings: Settings, sent_ms: Sequence[int], now_ms: int) -> bool:
    last_hour = [ms for ms in sent_ms if 0 <= now_ms - ms < HOUR_MS]
    allowed = settings.most_per_hour if urgent else max(1, settings.most_per_hour * 3 // 4)
    if len(last_hour) >= allowed or any(now_ms - ms < settings.fold_ms for ms in last_hour):
        return False
    ready_ms = min(_ready_ms(line, settings) for line in due)
    return urgent or not 0 <= now_ms - ready_ms < settings.fold_ms


def _ready_ms(line: Line, settings: Settings) -> int:
    assert line.waits_since_ms is not None, "it has news"
    return line.waits_since_ms if _passes(line, settings.quiet) else _released_ms(line.waits_since_ms, settings.quiet)


def _reminded(line: Line, settings: Settings, now_ms: int) -> Line:
    """Nobody has answered and it goes on: that is news again."""
    at_rest = not line.news and line.told_ms is not None and line.ended_ms is None and line.answer == "open"
    if settings.remind_ms is None or not at_rest:
        return line
    due_ms = (line.told_ms or 0) + settings.remind_ms
    return line if now_ms < due_ms else replace(line, news={"unanswered": 0}, waits_since_ms=due_ms)


def _is_expired(line: Line, settings: Settings, now_ms: int) -> bool:
    """What still holds is told however late: it is how things are. Quiet hours do not count as age."""
    return line.ended_ms is not None and now_ms - _released_ms(line.ended_ms, settings.quiet) >= settings.expire_ms


def _is_held(line: Line, quiet: Quiet | None, now_ms: int) -> bool:
    return quiet is not None and not _passes(line, quiet) and quiet.released_ms(now_ms) > now_ms


def _passes(line: Line, quiet: Quiet | None) -> bool:
    return quiet is None or (_is_loud(line) and rank(line.severity) >= rank(quiet.but))


def _is_loud(line: Line) -> bool:
    """It calls for somebody; that something is over can wait for the morning."""
    return line.ended_ms is None and bool(line.news.keys() & _LOUD)


def _released_ms(ms: int, quiet: Quiet | None) -> int:
    return ms if quiet is None else quiet.released_ms(ms)


def _order(line: Line) -> tuple[int, bool, int]:
    return -rank(line.severity), line.ended_ms is not None, -line.began_ms
