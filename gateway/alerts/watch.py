"""All windows that the rules of a site ask for: minutes in, observations for the engine out.

Series, window and statistic that several rules share are kept once. What a rule is compared with (its reference, or
the other devices of its subject) is windowed in the same way and matched by the window's start and end: nothing is said
before all of them have told theirs, and when one tells it anew, late, the comparison is made again.
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
from gateway.ledger.day import Calendar, Span
from gateway.ledger.minute import MINUTE_MS, Minute, kind_of
from gateway.ledger.windows import Judged, SeriesWindows, Statistic, Wanted, WindowResult, WindowSpec, spread
from gateway.vocabulary import Kind

T = TypeVar("T")
Seen = tuple[Rule, Observation]
PERIODS = (WindowSpec("day", sliding=False), WindowSpec("night", sliding=False))
"""Kept for every level that has rules, whatever their windows: the page shows how days and nights stand."""
_KEPT_RESULTS = 4
_LATE_ROUNDS = 3
"""A late window, what it is compared with, and the comparison."""
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
    compared: dict[Wanted, list[tuple[Rule, _Series]]] = field(default_factory=dict)
    """Rules of other series that look at this one."""
    results: dict[Wanted, dict[tuple[int, int], WindowResult]] = field(default_factory=dict)
    """The newest few of each, by start and end."""
    windows: SeriesWindows | None = None


_Found = tuple[_Series, Judged]
_Key = tuple[int, int]
"""Start and end of a window."""


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
                if rule.at_once:
                    continue
                series = self._series(device, metric, _leave_out(rule))
                series.rules.setdefault(_wanted(rule), []).append(rule)
                if kind_of(metric) is Kind.LEVEL_DB:
                    for period in PERIODS:
                        series.rules.setdefault(Wanted(period, Statistic.MEAN, rule.valid_share), [])
                for other in self._others(rule, device):
                    other.rules.setdefault(_wanted(rule), [])
                    other.compared.setdefault(_wanted(rule), []).append((rule, series))
        self._by_series: dict[tuple[str, str], list[_Series]] = {}
        for series in self._all.values():
            self._by_series.setdefault((series.device, series.metric), []).append(series)
        self._forgotten: dict[tuple[int, WindowSpec, Span], _Series] = {}
        """Windows that something compared with was told anew and that are no longer in memory."""
        self._advanced_ms = 0

    def _series(self, device: str, metric: str, leave_out: LeaveOut) -> _Series:
        return self._all.setdefault((device, metric, leave_out), _Series(device, metric, leave_out))

    def _others(self, rule: Rule, device: str) -> list[_Series]:
        """What a rule compares with: stations, another series of its device, or the other devices of its subject."""
        if rule.spread:
            assert rule.metric is not None
            members = self._rules.subjects(rule)[self._rules.subject(rule, device)]
            return [self._series(each, rule.metric, _leave_out(rule)) for each in members if each != device]
        return [self._series(other, metric, LeaveOut()) for metric, other in self._rules.compared_with(rule, device)]

    async def load(self, ledger: Minutes, now_ms: int) -> list[Seen]:
        """Build all windows from the ledger; return what ended meanwhile, oldest first."""
        for series in self._all.values():
            series.windows = SeriesWindows(series.metric, list(series.rules), self._calendar)
        since_ms = {id(s): s.windows.since_ms(now_ms) for s in self._all.values() if s.windows}
        until_ms = now_ms - now_ms % MINUTE_MS  # the minute that is open comes when it is closed
        oldest_ms = min(since_ms.values(), default=now_ms)
        for device, metric in self.weather.series:
            for minute in await ledger.minutes(device, metric, oldest_ms, until_ms):
                self.weather.note(minute)
        found: list[_Found] = []
        for series in self._all.values():
            assert series.windows is not None
            minutes = await ledger.minutes(series.device, series.metric, since_ms[id(series)], until_ms)
            judged = series.windows.load(minutes, now_ms, self.weather.spoilt(series.leave_out, series.device))
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
                left_out = bool(series.leave_out) and self.weather.spoils(
                    series.leave_out, series.device, minute.start_ms
                )
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
                    found += await self._judged_again(ledger, series, window, span)
        for _ in range(_LATE_ROUNDS):
            seen = self._observed(found)
            forgotten, self._forgotten = self._forgotten, {}
            for (_, window, span), series in forgotten.items():
                found += await self._judged_again(ledger, series, window, span)
            if not forgotten:
                break
        return seen

    async def _judged_again(self, ledger: Minutes, series: _Series, window: WindowSpec, span: Span) -> list[_Found]:
        assert series.windows is not None
        stored = await ledger.minutes(series.device, series.metric, span.start_ms, span.end_ms)
        spoilt = self.weather.spoilt(series.leave_out, series.device)
        return [(series, each) for each in series.windows.judge_again(window, span, stored, spoilt)]

    def results(self, rule: Rule, device: str, wanted: Wanted) -> Iterator[WindowResult]:
        """The newest few results of one window of one series, as the rule sees it, oldest first."""
        assert rule.metric is not None
        series = self._all.get((device, rule.metric, _leave_out(rule)))
        if series is not None:
            yield from sorted(series.results.get(wanted, {}).values(), key=lambda r: r.start_ms)

    def _observed(self, found: Sequence[_Found]) -> list[Seen]:
        for series, (wanted, result) in found:
            series.results.setdefault(wanted, {})[result.start_ms, result.end_ms] = result
        turns: dict[tuple[str, int, _Key], tuple[Rule, _Series, WindowResult]] = {}
        for series, (wanted, result) in sorted(found, key=lambda each: each[1][1].end_ms):
            key = (result.start_ms, result.end_ms)
            for rule in series.rules[wanted]:
                turns[rule.name, id(series), key] = (rule, series, result)
            for rule, judged in series.compared.get(wanted, ()):
                own = judged.results.get(wanted, {}).get(key)
                if own is not None:
                    turns.setdefault((rule.name, id(judged), key), (rule, judged, own))
                elif result.corrected:
                    self._forgotten[id(judged), wanted.window, Span(*key)] = judged
        seen = [(turn[0], observation) for turn in turns.values() if (observation := self._compared(*turn))]
        for series, (wanted, _) in found:
            kept = series.results[wanted]
            while len(kept) > _KEPT_RESULTS:
                del kept[min(kept)]
        return seen

    def _compared(self, rule: Rule, series: _Series, result: WindowResult) -> Observation | None:
        """Return what a rule sees of a window; None while something that it compares with has not told its own."""
        wanted, key = _wanted(rule), (result.start_ms, result.end_ms)
        others: list[WindowResult] = []
        for other in self._others(rule, series.device):
            found = other.results.get(wanted, {}).get(key)
            if found is None and result.corrected:
                self._forgotten[id(other), wanted.window, Span(*key)] = other
            if found is None or (result.closed and not found.closed):
                return None
            others.append(found)
        if any(other.corrected for other in others):
            result = replace(result, corrected=True)
        if rule.spread:
            observation = Observation(series.device, spread([result, *others]))
        else:
            observation = observe(rule, series.device, result, _mean([o for o in others if o.enough]))
        return replace(observation, sprayed_minutes=self.weather.sprayed_minutes(series.device, *key))


def _mean(known: Sequence[WindowResult]) -> WindowResult | None:
    values = [found.value for found in known if found.value is not None]
    return replace(known[0], value=sum(values) / len(values)) if values else None


def _wanted(rule: Rule) -> Wanted:
    return Wanted(rule.window, rule.statistic, rule.valid_share)


def _leave_out(rule: Rule) -> LeaveOut:
    return LeaveOut(rule.wind_below, rule.dry_only, rule.sprayed == "leave_out")
