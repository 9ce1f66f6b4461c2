"""The running sums of one window. Pure.

Sums are whole numbers: a value times 2**40. Adding and taking away is then exact, so that a sum which follows a
sliding window or late data for months does not drift. Every good minute counts the same, however many readings it
has, as Leq = 10 lg(sum(Ti * 10^(0.1 Li)) / sum(Ti)) asks; percentiles come from all readings of the good minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.ledger import levels
from gateway.ledger.minute import Minute, direction_of, kind_of, within
from gateway.ledger.statistic import PERCENTILES, Statistic
from gateway.vocabulary import Kind

_SCALE = 1 << 40
_NIGHT_DB = 10.0


@dataclass(frozen=True, slots=True)
class Part:
    """One minute as windows keep it."""

    start_ms: int
    share: float
    """-1 when the minute does not count at all: nothing was good, or it is left out."""
    night: bool
    amount: int
    """Mean, energy, or eastward part of the direction; scaled."""
    north: int
    delta: int | None
    low: float | None
    high: float | None
    last: float | None
    last_ms: int
    levels: bytes


def part_of(minute: Minute, night: bool, left_out: bool) -> Part:
    """Prepare a minute once for all of its windows."""
    kind, mean = kind_of(minute.metric), minute.mean
    amount = north = 0.0
    if mean is None:
        pass
    elif kind is Kind.LEVEL_DB:
        amount = 10 ** (mean / 10)
    elif kind is Kind.DIRECTION:
        length, angle = minute.resultant or 0.0, math.radians(mean)
        amount, north = length * math.sin(angle), length * math.cos(angle)
    else:
        amount = mean
    return Part(
        minute.start_ms,
        -1.0 if left_out or not minute.count else minute.valid_share,
        night,
        int(amount * _SCALE),
        int(north * _SCALE),
        None if minute.delta is None else int(minute.delta * _SCALE),
        minute.low,
        minute.high,
        minute.last,
        minute.last_ms or 0,
        minute.levels,
    )


class Sums:
    """What is known of the minutes in one window."""

    __slots__ = (
        "_amount", "_deltas", "_high", "_histogram", "_last", "_last_ms", "_low", "_minute_share", "_night_amount",
        "_north", "_total_delta", "blurred", "good", "night_good",
    )  # fmt: skip

    def __init__(self, minute_share: float, histogram: bool) -> None:
        self._minute_share = minute_share
        self._histogram: Counter[int] | None = Counter() if histogram else None
        self.good = self.night_good = 0
        self._amount = self._night_amount = self._north = 0
        self._total_delta = self._deltas = 0
        self._low: float | None = None
        self._high: float | None = None
        self._last: float | None = None
        self._last_ms = -1
        self.blurred = False
        """A minute that was taken away held the lowest, highest or last value: ``sharpen`` before asking for it."""

    def counts(self, part: Part) -> bool:
        """True for a good minute."""
        return part.share >= self._minute_share

    def add(self, part: Part) -> None:
        """Take a minute in."""
        if part.delta is not None:
            self._total_delta += part.delta
            self._deltas += 1
        if not self.counts(part):
            return
        self.good += 1
        self._amount += part.amount
        self._north += part.north
        if part.night:
            self.night_good += 1
            self._night_amount += part.amount
        self._extend(part)
        if self._histogram is not None:
            self._histogram.update(levels.unpack(part.levels))

    def take(self, part: Part) -> None:
        """Take a minute out again."""
        if part.delta is not None:
            self._total_delta -= part.delta
            self._deltas -= 1
        if not self.counts(part):
            return
        self.good -= 1
        self._amount -= part.amount
        self._north -= part.north
        if part.night:
            self.night_good -= 1
            self._night_amount -= part.amount
        if part.low == self._low or part.high == self._high or part.last_ms == self._last_ms:
            self.blurred = True
        if self._histogram is not None:
            bins = self._histogram
            for level, count in levels.unpack(part.levels).items():
                bins[level] -= count
                if not bins[level]:
                    del bins[level]

    def exchange(self, old: Part, new: Part) -> None:
        """Take a minute out and what it has become in."""
        blurred = self.blurred
        self.take(old)
        self.add(new)
        if self.blurred and self.counts(new) and _covers(new, old):
            self.blurred = blurred

    def sharpen(self, parts: Iterable[Part]) -> None:
        """Find lowest, highest and last again among all minutes of the window."""
        self._low = self._high = self._last = None
        self._last_ms = -1
        for part in parts:
            if self.counts(part):
                self._extend(part)
        self.blurred = False

    def _extend(self, part: Part) -> None:
        low, high = part.low, part.high
        if low is not None and (self._low is None or low < self._low):
            self._low = low
        if high is not None and (self._high is None or high > self._high):
            self._high = high
        if part.last_ms > self._last_ms:
            self._last, self._last_ms = part.last, part.last_ms

    def value(self, kind: Kind, statistic: Statistic, day_minutes: int, night_minutes: int) -> float | None:
        """Return a statistic; None when no minute has it. ``day_minutes``, ``night_minutes``: weights of Ldn."""
        if statistic is Statistic.DELTA:
            return self._total_delta / _SCALE if self._deltas else None
        if not self.good:
            return None
        if statistic is Statistic.MEAN:
            return self._mean(kind)
        if statistic in PERCENTILES:
            return levels.exceeded(self._histogram or {}, PERCENTILES[statistic])
        match statistic:
            case Statistic.MAX:
                return self._high
            case Statistic.MIN:
                return self._low
            case Statistic.LAST:
                return self._last
        by_day = _level(self._amount - self._night_amount, self.good - self.night_good)
        by_night = _level(self._night_amount, self.night_good)
        if statistic is Statistic.LD:
            return by_day
        if statistic is Statistic.LN or by_day is None or by_night is None:
            return by_night if statistic is Statistic.LN else None
        powers = day_minutes * 10 ** (by_day / 10) + night_minutes * 10 ** ((by_night + _NIGHT_DB) / 10)
        return 10 * math.log10(powers / (day_minutes + night_minutes))

    def _mean(self, kind: Kind) -> float | None:
        if kind is Kind.LEVEL_DB:
            return within(self._low, _level(self._amount, self.good), self._high)
        if kind is Kind.DIRECTION:
            return direction_of(self._amount / _SCALE, self._north / _SCALE, self.good)[0]
        return within(self._low, self._amount / (_SCALE * self.good), self._high)


def _covers(new: Part, old: Part) -> bool:
    """True when no lowest, highest or last value is lost with ``old``: late readings can only widen a minute."""
    if new.low is not None and old.low is not None and new.low > old.low:
        return False
    if new.high is not None and old.high is not None and new.high < old.high:
        return False
    return new.last_ms > old.last_ms or (new.last_ms, new.last) == (old.last_ms, old.last)


def _level(power: int, minutes: int) -> float | None:
    return 10 * math.log10(power / (_SCALE * minutes)) if minutes and power > 0 else None
