"""Statistics of one minute, per kind of quantity. Pure.

Rows of equal shape and equal marks share one ``_Columns``: it keeps eight rows and then folds them column by column
with min, max and sum, so that a value costs no Python statement of its own. Decibels are counted by level, averaged as
energies and kept as a histogram; directions are averaged as vectors. Counters are followed per series across minutes:
the increase since the last reading belongs to the minute in which it was seen, so that the minutes add up to what the
register says.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from operator import itemgetter
from typing import cast

from gateway.ledger import levels
from gateway.model import Mark, Readings
from gateway.vocabulary import METRICS, Kind, has_wrapped

MINUTE_MS = 60_000
_FOLD_ROWS = 8
_NO_DIRECTION = 1e-9
"""Below this length the vectors cancel out: there is no mean direction."""

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Minute:
    """What one series said in one minute."""

    device: str
    metric: str
    start_ms: int
    count: int
    """Good readings."""
    bad: int
    """Readings with any other mark."""
    valid_share: float
    """Good readings by those expected (or seen, if more), 0 to 1."""
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    """By kind: arithmetic, energy or vector mean; None for counters and states, and where nothing was good."""
    last: float | None = None
    last_ms: int | None = None
    delta: float | None = None
    """Counters: the increase seen in this minute."""
    resultant: float | None = None
    """Directions: length of the mean vector, 0 (all around) to 1 (steady)."""
    mark: str = Mark.GOOD
    """N, or the commonest other mark when no reading was good."""
    reset: bool = False
    """Counters: fell without a wrap; the fall itself counts as no increase."""
    levels: bytes = b""
    """Levels: the packed 0.1 dB histogram of the good readings."""


def kind_of(metric: str) -> Kind:
    """Return how a metric is averaged."""
    known = METRICS.get(metric)
    return Kind.GAUGE if known is None else known.kind


def increment(old: float, new: float, wrap: float | None) -> tuple[float, bool]:
    """Return (increase, was it a reset). A fall that is no wrap is a reset and counts as no increase."""
    if new >= old:
        return new - old, False
    if wrap is not None and has_wrapped(old, new, wrap):
        return max(0.0, new + wrap - old), False
    return 0.0, True


def share(count: int, bad: int, expected: float) -> float:
    """Return the valid share of ``count`` good readings."""
    return count / max(expected, count + bad) if count else 0.0


def mean_of(kind: Kind, parts: Iterable[tuple[float | None, int, float | None]]) -> tuple[float | None, float | None]:
    """Return (mean, resultant) over parts of (mean, number of readings, resultant)."""
    weighted = [(0.0 if mean is None else mean, count, resultant) for mean, count, resultant in parts if count]
    total = sum(count for _, count, _ in weighted)
    if not total or kind in (Kind.COUNTER, Kind.STATE):
        return None, None
    if kind is Kind.LEVEL_DB:
        return 10 * math.log10(sum(count * 10 ** (mean / 10) for mean, count, _ in weighted) / total), None
    if kind is Kind.DIRECTION:
        east = sum(count * (length or 0.0) * math.sin(math.radians(mean)) for mean, count, length in weighted)
        north = sum(count * (length or 0.0) * math.cos(math.radians(mean)) for mean, count, length in weighted)
        return direction_of(east, north, total)
    return math.fsum(mean * count for mean, count, _ in weighted) / total, None


def direction_of(east: float, north: float, count: int) -> tuple[float | None, float]:
    """Return (direction, resultant) of so many vectors that add up to this."""
    length = min(1.0, math.hypot(east, north) / count)
    if length < _NO_DIRECTION:
        return None, 0.0
    degrees = math.degrees(math.atan2(east, north)) % 360.0
    return (0.0 if degrees == 360.0 else degrees), length  # a tiny negative angle rounds up to 360


def within(low: float | None, value: float | None, high: float | None) -> float | None:
    """A mean of equal numbers must not leave them by rounding."""
    return value if low is None or value is None or high is None else min(max(value, low), high)


def merge(a: Minute, b: Minute, expected: float) -> Minute:
    """Return both parts of one series' minute as one: late data joins what was there before."""
    count, bad = a.count + b.count, a.bad + b.bad
    deltas = [part.delta for part in (a, b) if part.delta is not None]
    both = replace(
        a if a.count or (not b.count and a.bad >= b.bad) else b,
        count=count,
        bad=bad,
        valid_share=share(count, bad, expected),
        delta=sum(deltas) if deltas else None,
        reset=a.reset or b.reset,
    )
    if not a.count or not b.count:
        return both
    last = a if (a.last_ms or 0) > (b.last_ms or 0) else b
    low = None if a.low is None or b.low is None else min(a.low, b.low)
    high = None if a.high is None or b.high is None else max(a.high, b.high)
    mean, resultant = mean_of(kind_of(a.metric), [(p.mean, p.count, p.resultant) for p in (a, b)])
    return replace(
        both,
        low=low,
        high=high,
        mean=within(low, mean, high),
        resultant=resultant,
        last=last.last,
        last_ms=last.last_ms,
        levels=levels.merged([a.levels, b.levels]) if a.levels or b.levels else b"",
    )


@dataclass(slots=True)
class CounterState:
    """One counter, followed from minute to minute."""

    wrap: float | None = None
    last: float | None = None
    fell_from: float | None = None
    """Where it stood before its last fall: some meters show zero for a while when they start."""

    def grow(self, before: float, value: float) -> tuple[float, bool]:
        """Return (increase, was it a reset)."""
        grown, reset = increment(before, value, self.wrap)
        if reset:
            self.fell_from = max(before, self.fell_from or 0.0)
        elif self.fell_from is not None and value >= self.fell_from:
            if before < self.fell_from / 2:  # in one leap: the register is back, it did not count all that
                grown = value - self.fell_from
            self.fell_from = None
        return grown, reset


@dataclass(slots=True)
class Track:
    """What is known of one device beyond the minute."""

    counters: dict[str, CounterState] = field(default_factory=dict)
    newest_ms: int = 0
    """A reading older than this is late: it joins its minute, but no counter steps back for it."""


class _Columns:
    """Rows of one shape whose marks are all equal."""

    def __init__(self, metrics: tuple[str, ...], marks: str, counters: dict[str, CounterState]) -> None:
        good = [mark == Mark.GOOD for mark in marks]
        self.metrics = tuple(compress(metrics, good))
        self.bad = [(metric, mark) for metric, mark in zip(metrics, marks, strict=True) if mark != Mark.GOOD]
        self.counters = [
            (place, metric, counters.setdefault(metric, CounterState()))
            for place, metric in enumerate(metrics)
            if good[place] and kind_of(metric) is Kind.COUNTER
        ]
        self._mask = good if self.bad else None
        kinds = [kind_of(metric) for metric in self.metrics]
        self._levels: list[tuple[int, itemgetter[int], Counter[float]]] = [
            (place, itemgetter(place), Counter()) for place, kind in enumerate(kinds) if kind is Kind.LEVEL_DB
        ]
        self._vectors = {place: (0.0, 0.0) for place, kind in enumerate(kinds) if kind is Kind.DIRECTION}
        self._rows: list[Row] = []
        self._lows: Row = ()
        self._highs: Row = ()
        self._sums: Row = ()
        self.count = 0
        self.last: Row = ()
        self.last_ms = -1

    def put(self, time_ms: int, values: tuple[float | None, ...]) -> None:
        row = cast(Row, values if self._mask is None else tuple(compress(values, self._mask)))
        self.count += 1
        self._rows.append(row)
        if time_ms >= self.last_ms:
            self.last, self.last_ms = row, time_ms
        if len(self._rows) == _FOLD_ROWS:
            self._fold()

    def _fold(self) -> None:
        rows = self._rows
        if not rows:
            return
        if not self._lows:
            self._lows = self._highs = rows[0]
            self._sums = (0.0,) * len(rows[0])
        self._lows = tuple(map(min, self._lows, *rows))
        self._highs = tuple(map(max, self._highs, *rows))
        self._sums = tuple(map(sum, zip(self._sums, *rows, strict=True)))
        for _, level_of, seen in self._levels:
            seen.update(map(level_of, rows))
        for place, (east, north) in self._vectors.items():
            angles = [math.radians(row[place]) for row in rows]
            self._vectors[place] = (east + sum(map(math.sin, angles)), north + sum(map(math.cos, angles)))
        self._rows = []

    def minutes(self, device: str, start_ms: int) -> Iterable[Minute]:
        """Yield one part per metric, without shares and increases."""
        self._fold()
        count = self.count
        histograms = {place: seen for place, _, seen in self._levels}
        for place, metric in enumerate(self.metrics):
            low, high = self._lows[place], self._highs[place]
            kind = kind_of(metric)
            mean: float | None = None
            resultant: float | None = None
            packed = b""
            if kind is Kind.GAUGE:
                mean = within(low, self._sums[place] / count, high)
            elif kind is Kind.LEVEL_DB:
                seen = histograms[place]
                power = math.fsum(times * 10 ** (level / 10) for level, times in seen.items())
                mean = within(low, 10 * math.log10(power / count), high)
                packed = levels.pack(levels.binned(seen))
            elif kind is Kind.DIRECTION:
                mean, resultant = direction_of(*self._vectors[place], count)
            if kind is Kind.DIRECTION:
                yield Minute(
                    device, metric, start_ms, count, 0, 0.0, None, None, mean, self.last[place], self.last_ms,
                    None, resultant,
                )  # fmt: skip
            else:
                last = self.last[place]
                yield Minute(
                    device, metric, start_ms, count, 0, 0.0, low, high, mean, last, self.last_ms, levels=packed
                )
        for metric, mark in self.bad:
            yield Minute(device, metric, start_ms, 0, count, 0.0, mark=mark)


class DeviceMinute:
    """Everything that one device said in one minute."""

    def __init__(self, device: str, start_ms: int, track: Track) -> None:
        self.device = device
        self.start_ms = start_ms
        self._track = track
        self._parts: dict[tuple[tuple[str, ...], str], _Columns] = {}
        self._increases: dict[str, float] = {}
        self._resets: set[str] = set()

    def put(self, readings: Readings) -> None:
        """Take a record whose time lies in this minute."""
        key = (readings.metrics, readings.marks)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = _Columns(*key, self._track.counters)
        values, time_ms, track = readings.values, readings.time_ms, self._track
        part.put(time_ms, values)
        if time_ms < track.newest_ms:
            return
        track.newest_ms = time_ms
        for place, metric, state in part.counters:
            value = cast(float, values[place])
            if value != state.last:
                self._step(metric, state, value)

    def _step(self, metric: str, state: CounterState, value: float) -> None:
        if state.last is not None:
            grown, reset = state.grow(state.last, value)
            self._increases[metric] = self._increases.get(metric, 0.0) + grown
            if reset:
                self._resets.add(metric)
        state.last = value

    def minutes(self, expected: Mapping[str, float]) -> list[Minute]:
        """Return one Minute per metric seen. ``expected``: good readings per minute, by metric. May be asked again."""
        merged: dict[str, Minute] = {}
        marks: dict[str, Counter[str]] = {}
        for part in self._parts.values():
            for minute in part.minutes(self.device, self.start_ms):
                before = merged.get(minute.metric)
                merged[minute.metric] = minute if before is None else merge(before, minute, 0.0)
            for metric, mark in part.bad:
                marks.setdefault(metric, Counter())[mark] += part.count
        return [self._finish(minute, expected.get(metric, 0.0), marks.get(metric)) for metric, minute in merged.items()]

    def _finish(self, minute: Minute, expected: float, marks: Counter[str] | None) -> Minute:
        if not minute.count:
            assert marks is not None
            return replace(minute, mark=marks.most_common(1)[0][0])
        valid = share(minute.count, minute.bad, expected)
        if kind_of(minute.metric) is not Kind.COUNTER:
            return replace(minute, valid_share=valid)
        delta, reset = self._increases.get(minute.metric, 0.0), minute.metric in self._resets
        return replace(minute, valid_share=valid, delta=delta, reset=reset)
