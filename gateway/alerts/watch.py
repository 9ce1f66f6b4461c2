"""All windows that the rules of a site ask for: minutes in, observations for the engine out.

Series, window and statistic that several rules share are kept once. What a rule is compared with (its reference) is
windowed in the same way, and matched by the window's start and end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from gateway.alerts.engine import observe
from gateway.alerts.rule import Rule, RuleSet
from gateway.alerts.state import Observation
from gateway.alerts.weather import LeaveOut, Weather
from gateway.ledger.day import Calendar
from gateway.ledger.minute import MINUTE_MS, Minute, kind_of
from gateway.ledger.windows import Judged, SeriesWindows, Statistic, Wanted, WindowResult, WindowSpec
from gateway.vocabulary import Kind

T = TypeVar("T")
Seen = tuple[Rule, Observation]
PERIODS = (WindowSpec("day", sliding=False), WindowSpec("night", sliding=False))
"""Kept for every level that has rules, whatever their windows: the page shows how days and nights stand."""
_KEPT_RESULTS = 4
_TURN = 100
_ADVANCE_AFTER_MS = 10_000
"""Windows end at full minutes and are closed this long after, when late readings have had their chance."""


async def in_turns(many: Iterable[T]) -> AsyncIterator[T]:
    """Go through many things without holding up the wires: two thousand series end their minute at once."""
    for place, one in enumerate(many):
        if place % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        yield one


class Minutes(Protocol):
    """What is asked of the minute ledger."""

    async def minutes(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[Minute]:
        """Minutes of one series, oldest first, with the open one."""
        ...


@dataclass(slots=True)
class _Series:
    """The windows of one series, seen without what some rules leave out."""

    device: str
    metric: str
    leave_out: LeaveOut
    rules: dict[Wanted, list[Rule]] = field(default_factory=dict)
    results: dict[Wanted, dict[tuple[int, int], WindowResult]] = field(default_factory=dict)
    """The newest few of each, by start and end."""
    windows: SeriesWindows | None = None


_Found = tuple[_Series, Judged]


class Watch:
    """Made for one RuleSet. ``load`` first, and again after anything was missed."""

    def __init__(self, rules: RuleSet, calendar: Calendar, metrics: Mapping[str, Iterable[str]]) -> None:
        """``metrics`` is device -> its metrics."""
        self._rules = rules
        self._calendar = calendar
        self.weather = Weather(metrics)
        self._all: dict[tuple[str, str, LeaveOut], _Series] = {}
        for (metric, device), of_series in rules.by_series.items():
            for rule in of_series:
                series = self._series(device, metric, LeaveOut(rule.wind_below, rule.dry_only))
                series.rules.setdefault(_wanted(rule), []).append(rule)
                if kind_of(metric) is Kind.LEVEL_DB:
                    for period in PERIODS:
                        series.rules.setdefault(Wanted(period, Statistic.MEAN, rule.valid_share), [])
                for other_metric, other in self._references(rule, device):
                    self._series(other, other_metric, LeaveOut()).rules.setdefault(_wanted(rule), [])
        self._by_series: dict[tuple[str, str], list[_Series]] = {}
        for series in self._all.values():
            self._by_series.setdefault((series.device, series.metric), []).append(series)
        self._advanced_ms = 0

    def _series(self, device: str, metric: str, leave_out: LeaveOut) -> _Series:
        return self._all.setdefault((device, metric, leave_out), _Series(device, metric, leave_out))

    def _references(self, rule: Rule, device: str) -> Sequence[tuple[str, str]]:
        """(metric, device) of what a rule compares with: stations, or another series of the same device."""
        if rule.reference is None:
            return ()
        return self._rules.references.get(rule.name) or ((rule.reference.metric, device),)

    async def load(self, ledger: Minutes, now_ms: int) -> list[Seen]:
        """Build all windows from the ledger; return what ended meanwhile, oldest first."""
        for series in self._all.values():
            series.windows = SeriesWindows(series.metric, list(series.rules), self._calendar)
        since_ms = {id(s): s.windows.since_ms(now_ms) for s in self._all.values() if s.windows}
        until_ms = now_ms - now_ms % MINUTE_MS  # the minute that is open comes when it is closed
        oldest_ms = min((since_ms[id(s)] for s in self._all.values() if s.leave_out), default=now_ms)
        for device, metric in self.weather.series:
            for minute in await ledger.minutes(device, metric, oldest_ms, until_ms):
                self.weather.note(minute)
        found: list[_Found] = []
        for series in self._all.values():
            assert series.windows is not None
            minutes = await ledger.minutes(series.device, series.metric, since_ms[id(series)], until_ms)
            judged = series.windows.load(minutes, now_ms, self.weather.spoilt(series.leave_out))
            found += [(series, each) for each in judged]
        return self._observed(found)

    def take(self, minutes: Iterable[Minute], now_ms: int) -> list[Seen]:
        """Take closed and corrected minutes; return every window that changed or has ended."""
        return self._observed([each for found in self._taken(list(minutes), now_ms) for each in found])

    async def take_in_turns(self, minutes: Iterable[Minute], now_ms: int) -> list[Seen]:
        """Like ``take``, but lets others work in between."""
        return self._observed([each async for found in in_turns(self._taken(list(minutes), now_ms)) for each in found])

    def _taken(self, minutes: Sequence[Minute], now_ms: int) -> Iterator[list[_Found]]:
        for minute in minutes:
            if (minute.device, minute.metric) in self.weather.series:
                self.weather.note(minute)
        for minute in minutes:
            for series in self._by_series.get((minute.device, minute.metric), ()):
                assert series.windows is not None
                left_out = bool(series.leave_out) and self.weather.spoils(series.leave_out, minute.start_ms)
                yield [(series, each) for each in series.windows.add(minute, left_out=left_out, now_ms=now_ms)]
        turn_ms = (now_ms - _ADVANCE_AFTER_MS) // MINUTE_MS
        if turn_ms != self._advanced_ms:
            self._advanced_ms = turn_ms
            for series in self._all.values():
                assert series.windows is not None
                yield [(series, each) for each in series.windows.advance(now_ms)]

    async def judge_late(self, ledger: Minutes, minutes: Iterable[Minute]) -> list[Seen]:
        """Judge windows again where some of these minutes are older than what is in memory."""
        found: list[_Found] = []
        for key in {(minute.device, minute.metric) for minute in minutes}:
            for series in self._by_series.get(key, ()):
                assert series.windows is not None
                for window, span in series.windows.stale():
                    stored = await ledger.minutes(series.device, series.metric, span.start_ms, span.end_ms)
                    spoilt = self.weather.spoilt(series.leave_out)
                    found += [(series, j) for j in series.windows.judge_again(window, span, stored, spoilt)]
        return self._observed(found)

    def results(self, rule: Rule, device: str, wanted: Wanted) -> Iterator[WindowResult]:
        """The newest few results of one window of one series, as the rule sees it, oldest first."""
        assert rule.metric is not None
        series = self._all.get((device, rule.metric, LeaveOut(rule.wind_below, rule.dry_only)))
        if series is not None:
            yield from sorted(series.results.get(wanted, {}).values(), key=lambda r: r.start_ms)

    def _observed(self, found: Sequence[_Found]) -> list[Seen]:
        for series, (wanted, result) in found:
            kept = series.results.setdefault(wanted, {})
            kept[result.start_ms, result.end_ms] = result
            while len(kept) > _KEPT_RESULTS:
                del kept[min(kept)]
        return [
            (rule, observe(rule, series.device, result, self._background(rule, series.device, result)))
            for series, (wanted, result) in sorted(found, key=lambda each: each[1][1].end_ms)
            for rule in series.rules[wanted]
        ]

    def _background(self, rule: Rule, device: str, result: WindowResult) -> WindowResult | None:
        """Mean of the reference series over the same window."""
        wanted, key = _wanted(rule), (result.start_ms, result.end_ms)
        known = [
            found
            for metric, other in self._references(rule, device)
            if (found := self._series(other, metric, LeaveOut()).results.get(wanted, {}).get(key)) and found.enough
        ]
        values = [found.value for found in known if found.value is not None]
        return replace(known[0], value=sum(values) / len(values)) if values else None


def _wanted(rule: Rule) -> Wanted:
    return Wanted(rule.window, rule.statistic, rule.valid_share)
