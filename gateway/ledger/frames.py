"""The fixed and the sliding windows of one series that share length and measure of a good minute. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.ledger.day import BLOCK_MINUTES, Calendar, Span
from gateway.ledger.minute import MINUTE_MS, kind_of
from gateway.ledger.statistic import PERCENTILES, Statistic, Wanted, WindowResult
from gateway.ledger.sums import Part, Sums
from gateway.vocabulary import Kind

Judged = tuple[Wanted, WindowResult]
Ring = Mapping[int, Part]
"""The newest minutes, by their start."""

KEPT_BLOCKS = 3
"""Closed blocks that late data can still change in memory; of longer windows the last one."""
_MOST_MISSED = 24
"""So many windows without any data are told after a pause in which nothing was asked."""
_EXTREMES = {Statistic.MAX, Statistic.MIN, Statistic.LAST}
_BY_HOURS = {Statistic.LD, Statistic.LN, Statistic.LDN}


def length_ms(length: str) -> int:
    """Return the usual length of a window."""
    return BLOCK_MINUTES.get(length, 31 * 1440 if length == "month" else 1440) * MINUTE_MS


class _Frame:
    """What fixed and sliding have in common."""

    def __init__(self, metric: str, wanted: Sequence[Wanted], calendar: Calendar) -> None:
        self.window = wanted[0].window
        self._kind = kind_of(metric)
        self._calendar = calendar
        self._wanted = wanted
        self._cut = self._kind is Kind.LEVEL_DB and self.window.length in BLOCK_MINUTES
        statistics = {each.statistic for each in wanted}
        self._histogram = not statistics.isdisjoint(PERCENTILES)
        self._extremes = not statistics.isdisjoint(_EXTREMES)
        self._by_hours = not statistics.isdisjoint(_BY_HOURS)

    def _sums(self, parts: Iterable[Part] = ()) -> Sums:
        sums = Sums(self._wanted[0].minute_share, self._histogram)
        for part in parts:
            sums.add(part)
        return sums

    def _results(self, sums: Sums, span: Span, expected: Span, closed: bool) -> list[Judged]:
        total = (expected.end_ms - expected.start_ms) // MINUTE_MS
        night = self._calendar.night_minutes(expected) if self._by_hours else 0
        by_day, by_night = (sums.good - sums.night_good, total - night), (sums.night_good, night)
        result = []
        for wanted in self._wanted:
            statistic = wanted.statistic
            good, of = (sums.good, total)
            halves = [(good, of)]
            if statistic is Statistic.LDN:
                halves = [by_day, by_night]  # a night without data is not made up for by a day
            elif statistic in _BY_HOURS:
                good, of = by_day if statistic is Statistic.LD else by_night
                halves = [(good, of)]
            value = None
            if all(minutes and have / minutes >= wanted.valid_share for have, minutes in halves):
                value = sums.value(self._kind, statistic, total - night, night)
            share = min(1.0, good / of) if of else 0.0
            told = WindowResult(*span, value, share, good, of, value is not None, closed, corrected=False)
            result.append((wanted, told))
        return result


@dataclass(slots=True)
class _Held:
    span: Span
    sums: Sums
    told: list[Judged] = field(default_factory=list)
    """What was said when it closed; empty while it is open."""


class FixedFrame(_Frame):
    """Windows tied to the clock: one open, the last ones closed."""

    def __init__(self, metric: str, wanted: Sequence[Wanted], calendar: Calendar) -> None:
        super().__init__(metric, wanted, calendar)
        self._held: dict[int, _Held] = {}
        self._open: Span | None = None
        """The first window that is not closed: the open one or the next."""
        self._keep = KEPT_BLOCKS if self.window.length in BLOCK_MINUTES else 1

    def span_of(self, ms: int) -> Span | None:
        """Return the window around a moment."""
        at = self._open
        if at is not None and at.start_ms <= ms < at.end_ms:
            return at
        return self._calendar.window(self.window.length, ms, cut=self._cut)

    def since_ms(self, now_ms: int) -> int:
        """Return the start of the oldest window that is kept."""
        at = now_ms
        for _ in range(self._keep + 1):
            span = self.span_of(at)
            if span is None:
                at = self._calendar.period(at).start_ms - 1
                span = self.span_of(at)
            assert span is not None  # day and night take turns
            at = span.start_ms - 1
        return at + 1

    def begin(self, ms: int) -> None:
        """Windows before this moment are none of ours. Only the first call counts."""
        if self._open is None:
            around = self.span_of(ms)
            self._open = around or self._calendar.next_window(self.window.length, ms, cut=self._cut)

    def put(self, part: Part, old: Part | None, ring: Ring, ring_ms: int) -> Span | None:
        """Take a minute, ``old`` is what it was before; return its window when only the ledger can judge that."""
        span = self.span_of(part.start_ms)
        if span is None:
            return None
        held = self._held.get(span.start_ms)
        if held is None:
            if self._is_closed(span):
                return span
            held = self._held[span.start_ms] = _Held(span, self._sums())
        if old is None:
            held.sums.add(part)
        else:
            held.sums.exchange(old, part)
        if held.sums.blurred and self._extremes:
            if span.start_ms < ring_ms:
                return span
            minutes = (ring.get(ms) for ms in range(span.start_ms, span.end_ms, MINUTE_MS))
            held.sums.sharpen(each for each in minutes if each is not None)
        return None

    def close(self, until_ms: int) -> list[Judged]:
        """Return the windows that ended by then, for the first time, in the order of time."""
        result: list[Judged] = []
        oldest_ms = until_ms - _MOST_MISSED * length_ms(self.window.length)
        while self._open is not None and self._open.end_ms <= until_ms:
            span = self._open
            if span.start_ms < oldest_ms and span.start_ms not in self._held:
                self._open = self._next(oldest_ms)
                continue
            held = self._held.get(span.start_ms)
            if held is None:
                held = self._held[span.start_ms] = _Held(span, self._sums())
            held.told = self._results(held.sums, span, span, closed=True)
            result += held.told
            closed = [ms for ms in sorted(self._held) if self._held[ms].told]
            for ms in closed[: -self._keep]:
                del self._held[ms]
            self._open = self._next(span.end_ms)
        return result

    def now(self, until_ms: int) -> list[Judged]:
        """Return the open window as it stands."""
        span = self._open
        if span is None or not span.start_ms < until_ms:
            return []
        held = self._held.get(span.start_ms)
        sums = self._sums() if held is None else held.sums
        if sums.blurred and self._extremes:
            return []  # waits for the ledger
        return self._results(sums, span, Span(span.start_ms, min(until_ms, span.end_ms)), closed=False)

    def corrections(self, ms: int) -> list[Judged]:
        """Return what late data changed of the closed window around a moment."""
        span = self.span_of(ms)
        held = None if span is None else self._held.get(span.start_ms)
        if held is None or not held.told or (held.sums.blurred and self._extremes):
            return []
        before, held.told = held.told, self._results(held.sums, held.span, held.span, closed=True)
        return [
            (wanted, replace(new, corrected=True))
            for (wanted, new), (_, old) in zip(held.told, before, strict=True)
            if new != old
        ]

    def rebuild(self, span: Span, parts: Iterable[Part], until_ms: int) -> list[Judged]:
        """Return a window from all of its minutes, as corrected when it is closed."""
        sums = self._sums(parts)
        held = self._held.get(span.start_ms)
        if held is not None:
            held.sums = sums
        elif not self._is_closed(span):
            self._held[span.start_ms] = _Held(span, sums)
        else:
            told = self._results(sums, span, span, closed=True)
            return [(wanted, replace(result, corrected=True)) for wanted, result in told]
        return self.corrections(span.start_ms) if self._is_closed(span) else self.now(until_ms)

    def _is_closed(self, span: Span) -> bool:
        return self._open is not None and span.start_ms < self._open.start_ms

    def _next(self, ms: int) -> Span:
        return self._calendar.next_window(self.window.length, ms, cut=self._cut)


class SlidingFrame(_Frame):
    """A window that ends with the newest minute."""

    def __init__(self, metric: str, wanted: Sequence[Wanted], calendar: Calendar) -> None:
        super().__init__(metric, wanted, calendar)
        self._length_ms = length_ms(self.window.length)
        self._span = Span(0, 0)
        self._content = self._sums()
        self._period = Span(0, 0)

    def since_ms(self, now_ms: int) -> int:
        """Return the start of the window that ends now."""
        return now_ms - self._length_ms

    def move(self, end_ms: int, ring: Ring) -> None:
        """Let the minutes go that are too old at a new end; call before the new minute lies in the ring."""
        before = self._span
        start_ms = end_ms - self._length_ms
        if self._cut:
            if not self._period.start_ms < end_ms <= self._period.end_ms:
                self._period = self._calendar.period(end_ms - MINUTE_MS)
            start_ms = max(start_ms, self._period.start_ms)
        self._span = Span(start_ms, end_ms)
        if start_ms >= before.end_ms:
            self._content = self._sums()
            return
        for ms in range(before.start_ms, start_ms, MINUTE_MS):
            part = ring.get(ms)
            if part is not None:
                self._content.take(part)

    def put(self, part: Part, old: Part | None) -> None:
        """Take a minute, ``old`` is what it was before."""
        if self._span.start_ms <= part.start_ms < self._span.end_ms:
            if old is None:
                self._content.add(part)
            else:
                self._content.exchange(old, part)

    def now(self, ring: Ring) -> list[Judged]:
        """Return the window as it stands. Right after day or night began it has not enough data: that is meant."""
        span, content = self._span, self._content
        if content.blurred and self._extremes:
            minutes = (ring.get(ms) for ms in range(span.start_ms, span.end_ms, MINUTE_MS))
            content.sharpen(part for part in minutes if part is not None)
        return self._results(content, span, Span(span.end_ms - self._length_ms, span.end_ms), closed=False)
