"""The report engine: what is withheld can always be told from what was reported, and marks are never withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.profile import PointRule, ReportRule
from gateway.model import Readings
from gateway.pipeline.report import Reporter
from gateway.vocabulary import METRICS

VOLTAGE, CURRENT, WIND, OUTPUT = "voltage_l1_v", "current_l1_a", "wind_direction_deg", "output_1_on"
S = 1000
START_MS = 1_790_000_000_000
EVERY_S = 1.0


def rules(**reports: ReportRule | None) -> dict[str, PointRule]:
    """Points by metric, each with what may be reported of it."""
    return {
        name: PointRule(
            metric=METRICS[name],
            every_s=EVERY_S,
            multiply=1.0,
            divide=1.0,
            offset=0.0,
            low=METRICS[name].low,
            high=METRICS[name].high,
            sentinels=frozenset(),
            wrap=None,
            max_per_hour=None,
            report=report,
        )
        for name, report in reports.items()
    }


class Bench:
    """A reporter and what came out of it. Times are seconds after the start."""

    def __init__(self, points: Mapping[str, PointRule], now_s: float = 1e9) -> None:
        self.out: list[Readings] = []
        self.brought: set[tuple[str, float]] = set()
        """Metric and time of what came out behind its time: the last value before a change."""
        self.now_s = now_s
        self._points = points
        self._reporter = Reporter(points, self.out.append, lambda: START_MS + int(self.now_s * S))

    def feed(self, at_s: float, *values: float | None, metrics: Sequence[str] = (), marks: str = "") -> list[Readings]:
        """Give one answer; return what was reported of it."""
        before = len(self.out)
        names = tuple(metrics or self._points)
        said = marks or "".join("B" if value is None else "N" for value in values)
        self._reporter.put(Readings("d", START_MS + round(at_s * S), names, values, said))
        fresh = self.out[before:]
        self.brought |= {(m, (r.time_ms - START_MS) / S) for r in fresh[:-1] for m in r.metrics}
        return fresh

    def told(self, metric: str) -> list[tuple[float, float | None]]:
        """Everything reported of one series, in the order reported."""
        return [
            ((r.time_ms - START_MS) / S, r.values[r.metrics.index(metric)]) for r in self.out if metric in r.metrics
        ]


def seen(records: Sequence[Readings]) -> list[tuple[float, dict[str, float | None]]]:
    return [((r.time_ms - START_MS) / S, dict(zip(r.metrics, r.values, strict=True))) for r in records]


# --- single rules ----------------------------------------------------------------------------------------------


def test_only_the_values_that_changed_are_reported() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0), current_l1_a=ReportRule(deadband=0.5)))
    assert seen(bench.feed(0, 230.0, 5.0)) == [(0, {VOLTAGE: 230.0, CURRENT: 5.0})], "the first answer goes whole"
    assert bench.feed(1, 230.9, 5.5) == []
    assert seen(bench.feed(2, 231.5, 5.5)) == [(1, {VOLTAGE: 230.9}), (2, {VOLTAGE: 231.5})]
    assert seen(bench.feed(3, 231.5, 9.0)) == [(2, {CURRENT: 5.5}), (3, {CURRENT: 9.0})]
    assert {r.marks for r in bench.out} == {"N", "NN"}


def test_a_step_stays_a_step_only_where_it_is_wanted() -> None:
    for wanted in (True, False):
        bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0, last_before=wanted)))
        for at_s in range(60):
            bench.feed(at_s, 0.0)
        bench.feed(60, 230.0)
        assert bench.told(VOLTAGE) == [(0, 0.0), *([(59, 0.0)] if wanted else []), (60, 230.0)]


def test_the_deadband_is_no_more_than_the_decimals_say() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=0.1)))
    bench.feed(0, 4.1)
    assert 4.1 + 0.1 < 4.2, "a little, in binary"
    assert bench.feed(1, 4.2) == []
    assert bench.feed(2, 4.21)


def test_percent_counts_from_the_value_last_reported_and_the_larger_deadband_wins() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0, deadband_percent=10.0, last_before=False)))
    values = [200.0, 219.0, 181.0, 221.0, 3.0, 3.9, 4.1, 5.2]
    reported = [bool(bench.feed(n, value)) for n, value in enumerate(values)]
    assert reported == [True, False, False, True, True, False, True, True]


def test_a_percent_of_a_counter_means_nothing() -> None:
    bench = Bench(rules(energy_import_kwh=ReportRule(deadband=2.0, deadband_percent=5.0, last_before=False)))
    assert [bool(bench.feed(n, v)) for n, v in enumerate([90_000.0, 90_002.0, 90_003.0])] == [True, False, True]


def test_a_direction_goes_round() -> None:
    bench = Bench(rules(wind_direction_deg=ReportRule(deadband=10.0, last_before=False)))
    reported = [bool(bench.feed(n, value)) for n, value in enumerate([355.0, 3.0, 346.0, 6.0, 357.0, 355.0])]
    assert reported == [True, False, False, True, False, True]
    percent = Bench(rules(wind_direction_deg=ReportRule(deadband_percent=5.0, last_before=False)))
    assert [bool(percent.feed(n, v)) for n, v in enumerate([1.0, 18.0, 344.0, 342.0])] == [True, False, False, True]


def test_a_state_is_reported_at_any_change() -> None:
    bench = Bench(rules(output_1_on=ReportRule(deadband=5.0, deadband_percent=100.0, last_before=False)))
    assert [bool(bench.feed(n, v)) for n, v in enumerate([0.0, 0.0, 1.0, 1.0, 0.0])] == [True, False, True, False, True]


def test_a_value_that_went_and_came_back_within_the_interval_is_left_out() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0, min_s=10)))
    for at_s, value in [(0, 230.0), (3, 250.0), (4, 230.0), (9, 250.0), (12, 251.0), (13, 230.0), (22, 230.0)]:
        bench.feed(at_s, value)
    assert bench.told(VOLTAGE) == [(0, 230.0), (12, 251.0), (22, 230.0)], "held back is not the same as unchanged"


def test_every_reading_no_more_often_than() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(on_change=False, min_s=10)))
    for at_s in range(31):
        bench.feed(at_s, 230.0)
    assert [at for at, _ in bench.told(VOLTAGE)] == [0, 10, 20, 30]


def test_intervals_of_whole_polls_hold_that_many_though_polls_wander() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(max_s=5), current_l1_a=ReportRule(on_change=False, min_s=5)))
    for n in range(21):
        bench.feed(n + (0.04 if n % 2 else 0.0), 230.0, 5.0)
    assert [round(at) for at, _ in bench.told(VOLTAGE)] == [0, 5, 10, 15, 20]
    assert [round(at) for at, _ in bench.told(CURRENT)] == [0, 5, 10, 15, 20]


def test_min_holds_where_both_intervals_are_the_same() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(min_s=5, max_s=5, last_before=False)))
    for n in range(41):
        bench.feed(n / 4, float(n))
    assert [at for at, _ in bench.told(VOLTAGE)] == [0, 5, 10]


def test_a_periodic_report_waits_for_a_fresh_reading() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0, max_s=10)))
    for at_s in [0, 1, 2, 50, 51]:
        bench.feed(at_s, 230.0)
    assert bench.told(VOLTAGE) == [(0, 230.0), (50, 230.0)], "nothing came between, so nothing is said of it"


def test_marks_go_at_once_and_bring_the_last_good_value() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0, min_s=3600, max_s=7200)))
    for at_s, value in enumerate([230.0, 230.0, None, None, 230.0, 230.0, None]):
        bench.feed(at_s, value)
    assert bench.told(VOLTAGE) == [(0, 230.0), (1, 230.0), (2, None), (4, 230.0), (5, 230.0), (6, None)]
    assert [r.marks for r in bench.out] == ["N", "N", "B", "N", "N", "B"]


def test_a_mark_that_becomes_another_is_reported_and_one_that_stays_is_repeated_rarely() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(max_s=10), current_l1_a=ReportRule()))
    for at_s in range(25):
        bench.feed(at_s, None, 5.0, marks=("B" if at_s < 12 else "T") + "N")
    assert bench.told(VOLTAGE) == [(0, None), (10, None), (12, None), (22, None)]
    assert bench.told(CURRENT) == [(0, 5.0)]


def test_one_series_in_two_kinds_of_answers_is_one_series() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0), current_l1_a=ReportRule(deadband=1.0)))
    bench.feed(0, 230.0, 5.0)
    assert bench.feed(1, 230.0, metrics=[VOLTAGE]) == []
    assert seen(bench.feed(2, 240.0, metrics=[VOLTAGE])) == [(1, {VOLTAGE: 230.0}), (2, {VOLTAGE: 240.0})]
    assert bench.feed(3, 240.0, 5.0) == [], "the band is where the other answer left it"
    assert bench.feed(4, 240.0, metrics=[VOLTAGE]) == []
    assert seen(bench.feed(5, 230.0, 9.0)) == [
        (3, {CURRENT: 5.0}),
        (4, {VOLTAGE: 240.0}),
        (5, {VOLTAGE: 230.0, CURRENT: 9.0}),
    ], "each brings its own last value, whichever answer had it"


def test_silence_in_one_kind_of_answer_is_known_to_the_other() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(), current_l1_a=ReportRule()))
    bench.feed(0, 230.0, 5.0)
    bench.feed(1, None, metrics=[VOLTAGE])
    assert seen(bench.feed(2, 230.0, 5.0)) == [(2, {VOLTAGE: 230.0})]


def test_what_goes_unthinned_stays_so_beside_a_thinned_point() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(), current_l1_a=None))
    for at_s in range(5):
        bench.feed(at_s, 230.0, 5.0 if at_s < 3 else None)
    assert [at for at, _ in bench.told(CURRENT)] == [0, 1, 2, 3, 4], "marks too, again and again"
    assert [at for at, _ in bench.told(VOLTAGE)] == [0]


def test_a_column_that_is_no_point_goes_with_what_is_reported_and_tells_its_changes() -> None:
    bench = Bench(rules(pm10_ug_m3=ReportRule(deadband=10.0, last_before=False)))
    both = ["pm10_ug_m3", "sprayed"]
    for at_s, (dust, sprayed) in enumerate([(80, 0), (82, 0), (120, 0), (121, 1), (122, 1), (60, 1)]):
        bench.feed(at_s, float(dust), float(sprayed), metrics=both)
    assert seen(bench.out) == [
        (0, {"pm10_ug_m3": 80.0, "sprayed": 0.0}),
        (2, {"pm10_ug_m3": 120.0, "sprayed": 0.0}),
        (3, {"sprayed": 1.0}),
        (5, {"pm10_ug_m3": 60.0, "sprayed": 1.0}),
    ]


def test_late_records_go_whole_and_so_does_the_next_in_order() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0)), now_s=100)
    bench.feed(10, 230.0)
    bench.feed(20, 230.0)
    assert seen(bench.feed(15, 400.0)) == [(15, {VOLTAGE: 400.0})]
    assert seen(bench.feed(16, 400.0)) == [(16, {VOLTAGE: 400.0})], "late data are never thinned"
    assert seen(bench.feed(30, 230.0)) == [(30, {VOLTAGE: 230.0})]
    assert bench.feed(40, 230.0) == []


def test_what_another_answer_has_overtaken_is_not_thinned() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0), current_l1_a=ReportRule(deadband=1.0)))
    bench.feed(10, 230.0, 5.0)
    assert seen(bench.feed(8, 230.0, metrics=[VOLTAGE])) == [(8, {VOLTAGE: 230.0})]
    bench.feed(20, 250.0, metrics=[VOLTAGE])
    assert seen(bench.feed(15, 230.0, 5.0)) == [(15, {VOLTAGE: 230.0, CURRENT: 5.0})]


def test_a_clock_set_back_makes_nothing_late() -> None:
    bench = Bench(rules(voltage_l1_v=ReportRule(deadband=1.0)), now_s=10_000)
    bench.feed(9_999, 230.0)
    bench.now_s = 6_400
    assert bench.feed(6_400, 230.0), "an hour back: begun anew"
    assert bench.feed(6_401, 230.0) == []
    assert seen(bench.feed(6_402, 240.0)) == [(6_401, {VOLTAGE: 230.0}), (6_402, {VOLTAGE: 240.0})]


# --- properties ------------------------------------------------------------------------------------------------

VALUES = st.one_of(st.none(), st.integers(-40, 40).map(lambda n: n / 4), st.floats(-10, 10))
GAPS_S = st.sampled_from([0.5, 0.9, 1.0, 1.0, 1.0, 1.1, 7.0])
KINDS_OF_ANSWER = st.sampled_from([(VOLTAGE, CURRENT), (VOLTAGE,), (CURRENT,), (CURRENT, VOLTAGE)])
ANSWERS = st.lists(st.tuples(GAPS_S, KINDS_OF_ANSWER, VALUES, VALUES), max_size=60)
REPORTS = st.builds(
    ReportRule,
    on_change=st.sampled_from([True, True, True, False]),
    deadband=st.sampled_from([0.0, 0.5, 3.0]),
    deadband_percent=st.sampled_from([0.0, 10.0]),
    min_s=st.sampled_from([0.0, 1.0, 5.0]),
    max_s=st.sampled_from([5.0, 20.0, float("inf")]),
    last_before=st.booleans(),
)

Told = list[tuple[float, float | None]]
Answers = list[tuple[float, tuple[str, ...], float | None, float | None]]
"""Seconds since the one before, metrics, first value, second value."""


def played(reports: Mapping[str, ReportRule], answers: Answers) -> tuple[Bench, dict[str, Told]]:
    """Feed the answers; return the bench and what was read of each series."""
    bench = Bench(rules(**reports))
    read: dict[str, Told] = {VOLTAGE: [], CURRENT: []}
    at_s = 0.0
    for gap_s, metrics, one, two in answers:
        at_s = round(at_s + gap_s, 3)
        values = (one, two)[: len(metrics)]
        bench.feed(at_s, *values, metrics=metrics)
        for metric, value in zip(metrics, values, strict=True):
            read[metric].append((at_s, value))
    return bench, read


def band(report: ReportRule, value: float) -> float:
    return max(report.deadband, abs(value) * report.deadband_percent / 100)


@given(REPORTS, REPORTS, ANSWERS)
def test_only_readings_are_reported_each_once_and_in_order(
    voltage: ReportRule, current: ReportRule, answers: Answers
) -> None:
    bench, read = played({VOLTAGE: voltage, CURRENT: current}, answers)
    for metric, readings in read.items():
        told = bench.told(metric)
        assert all(a[0] < b[0] for a, b in pairwise(told))
        assert set(told) <= set(readings), "no value at a time at which it was not read"


@given(REPORTS, REPORTS, ANSWERS)
def test_holding_the_last_report_is_never_wrong_by_more_than_the_deadband(
    voltage: ReportRule, current: ReportRule, answers: Answers
) -> None:
    reports = {VOLTAGE: voltage, CURRENT: current}
    bench, read = played(reports, answers)
    for metric, report in reports.items():
        told = bench.told(metric)
        for at_s, value in read[metric]:
            held = [pair for pair in told if pair[0] <= at_s]
            assert held, "the first reading is reported"
            held_s, held_value = held[-1]
            assert (held_value is None) == (value is None), "a mark is never withheld"
            if not report.on_change:
                assert held_s == at_s or at_s - held_s < report.min_s
            elif value is not None and held_value is not None and at_s - held_s >= report.min_s:
                assert abs(value - held_value) <= band(report, held_value) + 1e-9


@given(REPORTS, ANSWERS)
def test_never_more_often_than_min_and_never_later_than_the_reading_after_max(
    report: ReportRule, answers: Answers
) -> None:
    bench, read = played({VOLTAGE: report, CURRENT: report}, answers)
    for metric, readings in read.items():
        told = bench.told(metric)
        own = [(s, v) for s, v in told if (metric, s) not in bench.brought]
        for (before_s, before), (at_s, value) in pairwise(own):
            if (before is None) == (value is None):
                assert at_s - before_s >= report.min_s - 0.1 * EVERY_S - 1e-9
        for at_s, _ in readings:
            held_s = max(s for s, _ in own if s <= at_s)
            assert at_s - held_s <= report.max_s - 0.9 * EVERY_S + 1e-9 or at_s - held_s < report.min_s
        assert report.last_before or not bench.brought


@given(ANSWERS)
def test_without_a_rule_everything_passes(
    answers: Answers,
) -> None:
    bench, read = played({VOLTAGE: ReportRule(on_change=False), CURRENT: ReportRule(on_change=False)}, answers)
    assert bench.told(VOLTAGE) == read[VOLTAGE]
    assert bench.told(CURRENT) == read[CURRENT]


@pytest.mark.parametrize("quiet", [True, False])
def test_a_change_among_many_quiet_values_is_reported_alone(quiet: bool) -> None:
    names = [name for name, metric in METRICS.items() if name.startswith("energy_")][:10]
    bench = Bench(rules(**{name: ReportRule(deadband=1.0) for name in names}))
    bench.feed(0, *[5.0] * 10)
    out = bench.feed(1, *[5.0] * 9, 5.0 if quiet else 50.0)
    assert [r.metrics for r in out] == ([] if quiet else [(names[9],)])
