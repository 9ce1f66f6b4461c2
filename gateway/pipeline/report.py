"""Which readings go on to the buffer and the sinks: on change beyond a deadband, at least and at most so often. Pure.

Strategy: for every series the band around its last report is kept, and an answer whose values all lie in their bands
is done with in two comparisons at C speed. Only what does not lie in its band, or is due, is looked at one by one;
what is to be reported of an answer becomes a record of its own. An old value is never sent again.

One series may come in several kinds of answers (rare points ride along with frequent ones), so what was reported is
kept by series, and each series tells every answer that brings it of its band.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from operator import ge, le
from typing import Any

from gateway.config.profile import PointRule, ReportRule
from gateway.model import Mark, Readings
from gateway.pipeline.latest import AHEAD_MS
from gateway.vocabulary import METRICS, Kind

Put = Callable[[Readings], None]

SLACK = 0.1
"""Of the time between readings: so much do polls wander, and an interval of whole polls shall hold that many."""
ROUNDING = 1e-12
"""Of a value: 20.3 is not more than 0.1 above 20.2, though binary fractions say so."""
_CIRCLE_DEG = 360.0
_MAX_SHAPES = 256
_ON_ANY_CHANGE = ReportRule()


@dataclass(slots=True, eq=False)
class _Series:
    """What was last reported of one series, and when the next report may and must be."""

    metric: str
    rule: ReportRule
    kind: Kind
    min_ms: float
    max_ms: float
    answers: list[tuple[_Answer, int]] = field(default_factory=list)
    """Where it comes in, and at which position."""
    mark: str = ""
    """Nothing was reported yet."""
    time_ms: int = -1
    low: float = inf
    """The band: what lies in it is no change. Empty (low above high) where there is none."""
    high: float = -inf

    def has_left(self, value: float) -> bool:
        """True when a good value is a change against the last report."""
        if self.low <= value <= self.high:
            return False
        turn = _CIRCLE_DEG if self.kind is Kind.DIRECTION else 0.0
        return not (turn and (self.low <= value - turn <= self.high or self.low <= value + turn <= self.high))

    def is_due(self, value: float | None, time_ms: int) -> bool:
        """True when a reading with the mark of the last report must be reported."""
        since_ms = time_ms - self.time_ms
        if since_ms > self.max_ms:
            return True
        if since_ms < self.min_ms:
            return False
        return not self.rule.on_change or (value is not None and self.has_left(value))

    def reported(self, value: float | None, mark: str, time_ms: int) -> None:
        """Note a report; the band is now around its value."""
        self.mark, self.time_ms = mark, time_ms
        if value is None or not self.rule.on_change:
            self.low, self.high = inf, -inf
        else:
            band = self._deadband(value)
            self.low, self.high = value - band, value + band
        self._tell_answers()

    def forget(self) -> None:
        """The next reading is reported, whatever it is."""
        self.mark, self.low, self.high = "", inf, -inf
        self._tell_answers()

    def _tell_answers(self) -> None:
        for answer, place in self.answers:
            answer.low[place], answer.high[place] = self.low, self.high
            answer.due_ms[place] = self.time_ms + self.max_ms
            if answer.newest_ms < self.time_ms:
                answer.newest_ms = self.time_ms

    def _deadband(self, value: float) -> float:
        if self.kind is Kind.STATE:
            return 0.0
        if self.kind is Kind.COUNTER:
            return self.rule.deadband  # a percent of what a meter has counted in its life means nothing
        whole = _CIRCLE_DEG if self.kind is Kind.DIRECTION else abs(value)
        band = max(self.rule.deadband, whole * self.rule.deadband_percent / 100)
        return band + abs(value) * ROUNDING if band else 0.0

    def withheld_before(self, time_ms: int) -> tuple[int, float] | None:
        """Time and value of the newest reading that was no change and therefore not reported."""
        if not self.rule.last_before or self.mark != Mark.GOOD:
            return None
        newest: tuple[int, float] | None = None
        for answer, place in self.answers:
            last = answer.last
            if last is None or not self.time_ms < last.time_ms < time_ms:
                continue
            value = last.values[place]
            if value is not None and (newest is None or last.time_ms > newest[0]):
                newest = last.time_ms, value
        return None if newest is None or self.has_left(newest[1]) else newest


class _Answer:
    """One kind of answer: the same metrics from poll to poll."""

    def __init__(self, series: list[_Series], company: tuple[int, ...]) -> None:
        self.series = series
        self.company = company
        """Positions of what no point of the device is: it goes with whatever else is reported."""
        self.last: Readings | None = None
        self.newest_ms = max(each.time_ms for each in series)
        """Of this answer, and of what another one has reported of its series."""
        self.low = [each.low for each in series]
        self.high = [each.high for each in series]
        self.due_ms = [each.time_ms + each.max_ms for each in series]
        self.first_due_ms = -inf
        """No later than the first of ``due_ms``, which only move on."""
        self.shapes: dict[tuple[int, ...], tuple[str, ...]] = {}
        for place, each in enumerate(series):
            each.answers.append((self, place))

    def holds(self, values: tuple[Any, ...]) -> bool:
        """True when each of these good values lies in its band."""
        return all(map(le, self.low, values)) and all(map(ge, self.high, values))

    def in_question(self, readings: Readings) -> Iterable[int]:
        """Positions of what may have to be reported; the others need no closer look."""
        if not readings.all_good:
            return range(len(readings.values))
        values: tuple[Any, ...] = readings.values
        rows = enumerate(zip(self.low, values, self.high, self.due_ms, strict=True))
        time_ms = readings.time_ms
        return [at for at, (low, value, high, due_ms) in rows if not low <= value <= high or time_ms > due_ms]


class Reporter:
    """Thins the records of one device; fulfils gateway.pipeline.fanout.Consumer.

    ``wall_ms`` tells the time: after our clock was set back, what is stamped later than now makes nothing late.
    """

    def __init__(self, rules: Mapping[str, PointRule], put: Put, wall_ms: Callable[[], int] = lambda: 2**53) -> None:
        self._rules = rules
        self._put = put
        self._wall_ms = wall_ms
        self._series: dict[str, _Series] = {}
        self._answers: dict[tuple[str, ...], _Answer] = {}

    def put(self, readings: Readings) -> None:
        """Take a record and pass on what is to be reported of it. Late ones go on whole and change nothing else."""
        answer = self._answers.get(readings.metrics) or self._new_answer(readings.metrics)
        time_ms = readings.time_ms
        if time_ms <= answer.newest_ms and self._is_late(answer, readings):
            return
        if time_ms > answer.first_due_ms or not readings.all_good or not answer.holds(readings.values):
            self._one_by_one(answer, readings)
            answer.first_due_ms = min(answer.due_ms)
        answer.last, answer.newest_ms = readings, time_ms

    def _new_answer(self, metrics: tuple[str, ...]) -> _Answer:
        series = [self._series.get(metric) or self._new_series(metric) for metric in metrics]
        company = tuple(place for place, metric in enumerate(metrics) if metric not in self._rules)
        self._answers[metrics] = answer = _Answer(series, company)
        return answer

    def _new_series(self, metric: str) -> _Series:
        point = self._rules.get(metric)
        rule = (point.report or ReportRule(on_change=False)) if point is not None else _ON_ANY_CHANGE
        every_ms = point.every_s * 1000 if point is not None else 0.0
        min_ms = rule.min_s * 1000 - SLACK * every_ms
        max_ms = max(min_ms, rule.max_s * 1000 - (1 - SLACK) * every_ms)  # the reading after this would come too late
        self._series[metric] = series = _Series(metric, rule, METRICS[metric].kind, min_ms, max_ms)
        return series

    def _is_late(self, answer: _Answer, readings: Readings) -> bool:
        """Pass on what comes out of its turn. It may lie between two reports, so the next answer goes whole.

        False when nothing is late, but a clock was set back: then the answer itself is that next one.
        """
        for each in answer.series:
            each.forget()
        if answer.newest_ms > self._wall_ms() + AHEAD_MS:
            return False
        self._put(readings)
        return True

    def _one_by_one(self, answer: _Answer, readings: Readings) -> None:
        time_ms = readings.time_ms
        due: list[int] = []
        before: dict[int, dict[str, float]] = {}
        for place in answer.in_question(readings):
            each, value, mark = answer.series[place], readings.values[place], readings.marks[place]
            if mark == each.mark and not each.is_due(value, time_ms):
                continue
            due.append(place)
            if mark != each.mark or (value is not None and each.has_left(value)):
                withheld = each.withheld_before(time_ms)
                if withheld is not None:
                    before.setdefault(withheld[0], {})[each.metric] = withheld[1]
        if not due:
            return
        for each_ms in sorted(before):
            values = before[each_ms]
            self._put(Readings(readings.device, each_ms, tuple(values), tuple(values.values()), "N" * len(values)))
        self._report(answer, readings, tuple(sorted({*due, *answer.company})) if answer.company else tuple(due))

    def _report(self, answer: _Answer, readings: Readings, places: tuple[int, ...]) -> None:
        values, marks = readings.values, readings.marks
        for place in places:
            answer.series[place].reported(values[place], marks[place], readings.time_ms)
        if len(places) == len(values):
            self._put(readings)
            return
        shape = answer.shapes.get(places)
        if shape is None:
            if len(answer.shapes) >= _MAX_SHAPES:
                answer.shapes.clear()
            shape = answer.shapes[places] = tuple(readings.metrics[place] for place in places)
        picked = tuple([values[place] for place in places])
        self._put(Readings(readings.device, readings.time_ms, shape, picked, "".join([marks[p] for p in places])))
