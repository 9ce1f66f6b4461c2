"""Raw numbers of one answer -> values in the vocabulary's units, each with its mark. Pure.

Strategy: one answer is judged as a whole at C speed (scale, range); only when something in it is not plainly good is it
gone through value by value. NaN and infinity fail every range and end up without a value; what is next to nothing
and not zero has none either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import add, ge, le, mul, truediv
from typing import cast

from drivers.api import Value
from gateway.config.profile import PointRule
from gateway.model import Mark, Readings
from gateway.pipeline.counter import CounterGuard
from gateway.vocabulary import Kind

TINY = 1e-30
"""No device means a raw number so near to zero: it is a denormal, or a whole number read in a wrong word order."""


class Normalizer:
    """Turns answers that bring the same points into Readings. Keeps the counters' memory between answers."""

    def __init__(self, device: str, rules: Sequence[PointRule], guards: dict[str, CounterGuard] | None = None) -> None:
        self.device = device
        self.metrics = tuple(rule.metric.name for rule in rules)
        self._rules = tuple(rules)
        self._good = Mark.GOOD * len(rules)
        self._multiply = _unless_all(1.0, [r.multiply for r in rules])
        self._divide = tuple(r.divide for r in rules)
        self._offset = _unless_all(0.0, [r.offset for r in rules])
        self._low = tuple(r.low for r in rules)
        self._high = tuple(r.high for r in rules)
        self._sentinels = [(i, r.sentinels) for i, r in enumerate(rules) if r.sentinels]
        guards = {} if guards is None else guards
        self._guards = [
            (i, guards.setdefault(r.metric.name, CounterGuard(r.wrap, r.max_per_hour)))
            for i, r in enumerate(rules)
            if r.metric.kind is Kind.COUNTER
        ]
        self._asked_ms, self._last_ms = 0, -1  # the stamps given since the last one that came as it is

    def apply(self, raw: Sequence[Value], time_ms: int, said: str | None = None) -> Readings:
        """Judge one answer taken at ``time_ms``. Answers with one stamp get different ones, so that all stay.

        ``said``: the device's own mark of each value; it says why one is missing.
        """
        if self._asked_ms <= time_ms <= self._last_ms:
            self._last_ms = time_ms = self._last_ms + 1
        else:
            self._asked_ms = self._last_ms = time_ms
        trusted: dict[int, bool] = {}
        if None not in raw and not any(raw[i] in bad for i, bad in self._sentinels) and not _any_tiny(raw):
            values = tuple(self._scaled(raw))
            if all(map(le, self._low, values)) and all(map(ge, self._high, values)):
                trusted = {i: guard.judge(values[i], time_ms) for i, guard in self._guards}
                if all(trusted.values()):
                    return Readings(self.device, time_ms, self.metrics, values, self._good)
        return self._one_by_one(raw, time_ms, trusted, said or Mark.FAULT * len(raw))

    def missed(self, mark: Mark, time_ms: int) -> Readings:
        """The points were due and brought nothing: no value, one mark for all."""
        return Readings(self.device, time_ms, self.metrics, (None,) * len(self.metrics), mark * len(self.metrics))

    def _scaled(self, raw: Sequence[Value]) -> Sequence[float]:
        """Apply scale and offset. Division by 10 is exact where a multiplication by 0.1 is not (229.7)."""
        scaled = raw if self._multiply is None else list(map(mul, raw, self._multiply))
        divided: list[float] = list(map(truediv, scaled, self._divide))
        return divided if self._offset is None else list(map(add, divided, self._offset))

    def _one_by_one(self, raw: Sequence[Value], time_ms: int, trusted: dict[int, bool], said: str) -> Readings:
        guards = dict(self._guards)
        values: list[float | None] = []
        marks: list[str] = []
        above: list[int] = []
        numbers = [math.nan if number is None else number for number in raw]
        judged = zip(numbers, self._scaled(numbers), self._low, self._high, self._rules, strict=True)
        for i, (number, value, low, high, rule) in enumerate(judged):
            is_none = math.isnan(number) or number in rule.sentinels or 0 < abs(number) < TINY
            if low <= value <= high and not is_none:
                believed = True
                if i in guards:  # a guard remembers: it is asked once per answer
                    believed = trusted[i] if i in trusted else guards[i].judge(value, time_ms)
                mark = Mark.GOOD if believed else Mark.OUT_OF_RANGE
            else:
                believed = False
                mark = Mark(said[i]) if raw[i] is None else Mark.FAULT if is_none else Mark.OUT_OF_RANGE
                if mark is Mark.OUT_OF_RANGE and value > high:
                    above.append(i)
            values.append(value if believed else None)
            marks.append(mark)
        return Readings(self.device, time_ms, self.metrics, tuple(values), "".join(marks), tuple(above))


def _any_tiny(raw: Sequence[Value]) -> bool:
    """``raw`` holds no None."""
    sizes = map(abs, cast(Sequence[float], raw))
    return min(filter(None, sizes), default=1.0) < TINY


def _unless_all(neutral: float, numbers: list[float]) -> tuple[float, ...] | None:
    return None if all(n == neutral for n in numbers) else tuple(numbers)
