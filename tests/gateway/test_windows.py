"""Windows against a slow, obvious reference, and against figures worked out by hand."""

from __future__ import annotations

import math
import time as stopwatch
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import levels
from gateway.ledger.day import Calendar, Span
from gateway.ledger.minute import Minute, kind_of
from gateway.ledger.windows import (
    Judged,
    SeriesWindows,
    Statistic,
    Wanted,
    WindowResult,
    WindowSpec,
    difference,
    exceedances,
    impossible,
    percent_of,
    ratio,
    spread,
)
from gateway.vocabulary import Kind

M = 60_000
CHINA = Calendar(ZoneInfo("Asia/Shanghai"))
PM10, LEVEL, WIND, ENERGY = "pm10_ug_m3", "noise_la_db", "wind_direction_deg", "energy_import_kwh"
FIXED = {length: WindowSpec(length, sliding=False) for length in ("5min", "20min", "60min", "day", "night", "24h")}
HOUR = FIXED["60min"]
LAST_20, LAST_24H = WindowSpec("20min", sliding=True), WindowSpec("24h", sliding=True)
BLOCK_MINUTES = {"5min": 5, "20min": 20, "60min": 60, "24h": 1440}


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=CHINA.zone).timestamp() * 1000)


def of_values(metric: str, start_ms: int, values: Sequence[float], share: float = 1.0) -> Minute:
    """A minute with these good readings."""
    kind, low, high = kind_of(metric), min(values), max(values)
    last_ms = start_ms + len(values)
    blank = Minute(metric, metric, start_ms, len(values), 0, share, last=values[-1], last_ms=last_ms)
    if kind is Kind.DIRECTION:
        mean = math.fsum(values) / len(values)
        return replace(blank, mean=mean, resultant=1.0)
    if kind is Kind.COUNTER:
        return replace(blank, delta=values[-1] - values[0], low=low, high=high)
    if kind is Kind.LEVEL_DB:
        mean = 10 * math.log10(math.fsum(10 ** (v / 10) for v in values) / len(values))
        packed = levels.pack(levels.binned(Counter(values)))
        return replace(blank, mean=min(max(mean, low), high), low=low, high=high, levels=packed)
    return replace(blank, mean=math.fsum(values) / len(values), low=low, high=high)


def run(metric: str, minutes: Iterable[Minute], *wanted: Wanted, now_ms: int | None = None) -> list[Judged]:
    windows = SeriesWindows(metric, wanted, CHINA)
    result = [judged for minute in minutes for judged in windows.add(minute)]
    return result if now_ms is None else result + windows.advance(now_ms)


def closed(judged: Iterable[Judged]) -> list[WindowResult]:
    return [result for _, result in judged if result.closed]


# --- worked examples ---------------------------------------------------------------------------------------------


def test_half_an_hour_at_60_and_half_at_80_db_is_77() -> None:
    start_ms = at("2026-03-05 10:00")
    minutes = [of_values(LEVEL, start_ms + n * M, [60.0 if n < 30 else 80.0]) for n in range(60)]
    (hour,) = closed(run(LEVEL, minutes, Wanted(HOUR, Statistic.MEAN)))
    assert hour.value == pytest.approx(10 * math.log10((1e6 + 1e8) / 2))
    assert round(hour.value, 1) == 77.0
    assert (hour.start_ms, hour.end_ms, hour.good_minutes, hour.expected_minutes) == (
        start_ms,
        start_ms + 60 * M,
        60,
        60,
    )
    assert (hour.valid_share, hour.enough, hour.closed, hour.corrected) == (1.0, True, True, False)


def test_65_by_day_and_55_by_night_make_ldn_65() -> None:
    start_ms = at("2026-03-05 00:00")
    minutes = [
        of_values(LEVEL, ms, [55.0 if CHINA.is_night(ms) else 65.0])
        for ms in range(start_ms, start_ms + 24 * 60 * M, M)
    ]
    wanted = [Wanted(FIXED["24h"], s) for s in (Statistic.LD, Statistic.LN, Statistic.LDN)]
    ld, ln, ldn = closed(run(LEVEL, minutes, *wanted))
    assert (ld.value, ld.expected_minutes) == (pytest.approx(65.0), 960)
    assert (ln.value, ln.expected_minutes) == (pytest.approx(55.0), 480)
    assert (
        ldn.value == pytest.approx(10 * math.log10((16 * 10**6.5 + 8 * 10**6.5) / 24), abs=1e-9) == pytest.approx(65.0)
    )


def test_ldn_with_other_levels_is_the_formula_and_a_silent_night_is_not_made_up_for() -> None:
    start_ms = at("2026-03-05 00:00")
    minutes = [
        of_values(LEVEL, ms, [58.3 if CHINA.is_night(ms) else 69.1])
        for ms in range(start_ms, start_ms + 24 * 60 * M, M)
    ]
    wanted = Wanted(FIXED["24h"], Statistic.LDN, valid_share=0.6)
    (ldn,) = closed(run(LEVEL, minutes, wanted))
    assert ldn.value == pytest.approx(10 * math.log10((16 * 10**6.91 + 8 * 10**6.83) / 24))
    by_day = [minute for minute in minutes if not CHINA.is_night(minute.start_ms)]
    (ldn,) = closed(run(LEVEL, by_day, wanted, now_ms=start_ms + 25 * 60 * M))
    assert (ldn.value, ldn.enough, ldn.valid_share) == (None, False, pytest.approx(2 / 3))


def test_percentiles_of_one_to_a_hundred() -> None:
    values = [40 + n / 10 for n in range(1, 101)]  # 40.1 to 50.0: L10 is the tenth from the top
    minutes = [of_values(LEVEL, at("2026-03-05 10:00") + n * M, values[n::5]) for n in range(5)]
    asked = [Statistic.L5, Statistic.L10, Statistic.L50, Statistic.L90, Statistic.L95]
    found = closed(run(LEVEL, minutes, *(Wanted(FIXED["5min"], s) for s in asked)))
    assert [result.value for result in found] == [49.6, 49.1, 45.1, 41.1, 40.6]


def test_winds_around_north_and_winds_that_cancel_out() -> None:
    start_ms = at("2026-03-05 10:00")
    for directions, expected in (([350.0, 10.0] * 10, 0.0), ([90.0, 270.0] * 10, None), ([80.0, 100.0] * 10, 90.0)):
        minutes = [of_values(WIND, start_ms + n * M, [d]) for n, d in enumerate(directions)]
        (result,) = closed(run(WIND, minutes, Wanted(FIXED["20min"], Statistic.MEAN)))
        if expected is None or result.value is None:
            assert result.value is expected
        else:
            assert math.cos(math.radians(result.value - expected)) == pytest.approx(1.0)


# --- against the reference -----------------------------------------------------------------------------------------

STATISTICS = {
    PM10: [Statistic.MEAN, Statistic.MAX, Statistic.MIN, Statistic.LAST],
    LEVEL: [Statistic.MEAN, Statistic.MAX, Statistic.L10, Statistic.L90, Statistic.LD, Statistic.LN, Statistic.LDN],
    WIND: [Statistic.MEAN],
    ENERGY: [Statistic.DELTA, Statistic.LAST],
}
PERCENT = {Statistic.L10: 10, Statistic.L90: 90}


def reference(wanted: Wanted, metric: str, told: WindowResult, known: dict[int, tuple[Minute, bool]]) -> WindowResult:
    """The same by the book, from all minutes, for the window that was told. Open windows: up to the newest minute."""
    until_ms = told.end_ms
    if not told.closed and not wanted.window.sliding:
        until_ms = min(told.end_ms, max(known) + M)
    inside = [pair for ms, pair in sorted(known.items()) if told.start_ms <= ms < told.end_ms]
    first_ms = until_ms - BLOCK_MINUTES[wanted.window.length] * M if wanted.window.sliding else told.start_ms
    expected = list(range(first_ms, until_ms, M))
    good = [m for m, left in inside if not left and m.count and m.valid_share >= wanted.minute_share]
    night = [m for m in good if CHINA.is_night(m.start_ms)]
    day = [m for m in good if not CHINA.is_night(m.start_ms)]
    nights = [ms for ms in expected if CHINA.is_night(ms)]
    halves = [(good, len(expected))]
    if wanted.statistic is Statistic.LD:
        halves = [(day, len(expected) - len(nights))]
    if wanted.statistic is Statistic.LN:
        halves = [(night, len(nights))]
    good, of = halves[0]
    if wanted.statistic is Statistic.LDN:
        halves = [(day, len(expected) - len(nights)), (night, len(nights))]
    enough = all(n and len(part) / n >= wanted.valid_share for part, n in halves)
    value = book_value(wanted.statistic, metric, good, inside, day, night, halves) if enough else None
    share = len(good) / of if of else 0.0
    return replace(
        told, value=value, valid_share=share, good_minutes=len(good), expected_minutes=of, enough=value is not None
    )


def book_value(
    statistic: Statistic,
    metric: str,
    good: list[Minute],
    inside: list[tuple[Minute, bool]],
    day: list[Minute],
    night: list[Minute],
    halves: list[tuple[list[Minute], int]],
) -> float | None:
    if statistic is Statistic.DELTA:
        deltas = [m.delta for m, _ in inside if m.delta is not None]
        return math.fsum(deltas) if deltas else None
    if not good or (statistic is Statistic.LDN and not (day and night)):
        return None
    means = [m.mean for m in good if m.mean is not None]
    if statistic is Statistic.MAX:
        return max(m.high or 0.0 for m in good)
    if statistic is Statistic.MIN:
        return min(m.low or 0.0 for m in good)
    if statistic is Statistic.LAST:
        return max(good, key=lambda m: m.last_ms or 0).last
    if statistic in PERCENT:
        readings = sorted((b for m in good for b in levels.unpack(m.levels).elements()), reverse=True)
        return readings[math.ceil(len(readings) * PERCENT[statistic] / 100) - 1] / 10
    if statistic is Statistic.LDN:
        (_, day_minutes), (_, night_minutes) = halves
        ld, ln = energy_mean(day), energy_mean(night) + 10
        total = day_minutes * 10 ** (ld / 10) + night_minutes * 10 ** (ln / 10)
        return 10 * math.log10(total / (day_minutes + night_minutes))
    if kind_of(metric) is Kind.LEVEL_DB:
        return energy_mean(good)
    if kind_of(metric) is Kind.DIRECTION:
        east = math.fsum(math.sin(math.radians(a)) for a in means)
        north = math.fsum(math.cos(math.radians(a)) for a in means)
        return math.degrees(math.atan2(east, north)) % 360
    return math.fsum(means) / len(means)


def energy_mean(minutes: list[Minute]) -> float:
    return 10 * math.log10(math.fsum(10 ** ((m.mean or 0) / 10) for m in minutes) / len(minutes))


def assert_same(found: WindowResult, book: WindowResult, metric: str) -> None:
    assert replace(found, value=None, valid_share=0) == replace(book, value=None, valid_share=0)
    assert found.valid_share == pytest.approx(book.valid_share)
    if metric == WIND and found.value is not None and book.value is not None:
        assert math.cos(math.radians(found.value - book.value)) == pytest.approx(1, abs=1e-9)
    elif found.value is None or book.value is None:
        assert found.value is book.value
    else:
        assert found.value == pytest.approx(book.value, rel=1e-9, abs=1e-9)


@st.composite
def stories(draw: st.DrawFn) -> tuple[str, list[Wanted], list[tuple[Minute, bool]]]:
    """Minutes of one series around a change of day and night: with gaps, late ones, poor ones, and corrected ones."""
    metric = draw(st.sampled_from(list(STATISTICS)))
    begin_ms = at("2026-03-05 04:50") if draw(st.booleans()) else at("2026-03-05 20:45")
    windows = [*FIXED.values(), LAST_20, LAST_24H, WindowSpec("60min", sliding=True)]
    possible = [Wanted(w, s) for w in windows for s in STATISTICS[metric] if impossible(metric, w, s) is None]
    wanted = draw(st.lists(st.sampled_from(possible), min_size=1, max_size=4, unique=True))
    wanted = [replace(w, valid_share=draw(st.sampled_from([0.0, 0.2, 0.75]))) for w in wanted]
    places = draw(st.lists(st.integers(0, 150), min_size=1, max_size=60, unique=True))
    places.sort(key=lambda place: place + draw(st.sampled_from([0, 0, 0, 0, 0, 30, 90, 400])))
    arrivals = []
    for place in places + draw(st.lists(st.sampled_from(places), max_size=5)):
        low, high = (0, 359) if metric == WIND else (30, 110)
        values = draw(st.lists(st.integers(low * 10, high * 10).map(lambda n: n / 10), min_size=1, max_size=3))
        if metric == WIND:
            values = values[:1]
        minute = of_values(metric, begin_ms + place * M, values, draw(st.sampled_from([1.0, 1.0, 1.0, 0.75, 0.7])))
        if draw(st.integers(0, 15)) == 0:
            minute = Minute(metric, metric, minute.start_ms, 0, 6, 0.0, mark="B")
        arrivals.append((minute, draw(st.integers(0, 10)) == 0))
    return metric, wanted, arrivals


@settings(max_examples=150, deadline=None)
@given(stories())
def test_windows_are_what_the_book_says(story: tuple[str, list[Wanted], list[tuple[Minute, bool]]]) -> None:
    metric, wanted, arrivals = story
    if metric == WIND:  # the direction of next to nothing is noise: left to the examples above
        arrivals = [(replace(m, mean=None if m.mean is None else m.mean / 4), left) for m, left in arrivals]
    windows = SeriesWindows(metric, wanted, CHINA)
    known: dict[int, tuple[Minute, bool]] = {}
    final: dict[tuple[Wanted, int], WindowResult] = {}

    def check(judged: Sequence[Judged], from_ledger: bool = False) -> None:
        for each, told in judged:
            assert_same(told, reference(each, metric, told, known), metric)
            key = (each, told.start_ms)
            if told.closed:
                before = final.get(key)
                assert before is None or told.corrected, "closed twice"
                assert from_ledger or before != told
                final[key] = told

    for minute, left_out in arrivals:
        known[minute.start_ms] = (minute, left_out)
        check(windows.add(minute, left_out=left_out))
        while stale := windows.stale():
            for window, span in stale:
                inside = [m for ms, (m, _) in sorted(known.items()) if span.start_ms <= ms < span.end_ms]
                left = {ms for ms, (_, out) in known.items() if out}
                check(windows.judge_again(window, span, inside, left), from_ledger=True)
    newest_ms = max(known)
    known[newest_ms + 60_000_000] = (Minute(metric, metric, newest_ms, 0, 0, 0.0), True)  # time goes on
    check(windows.advance(newest_ms + 60_000_000 + 2 * M))
    del known[newest_ms + 60_000_000]
    for (each, _), told in final.items():
        assert_same(told, reference(each, metric, told, known), metric)
    for each in wanted:
        if not each.window.sliding:
            spans = {CHINA.window(each.window.length, ms, cut=metric == LEVEL) for ms in known}
            assert all((each, span.start_ms) in final for span in spans if span is not None and span.end_ms < newest_ms)


@given(st.lists(st.floats(20, 140), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_sorted_readings(values: list[float]) -> None:
    bins = levels.binned(Counter(values))
    assert levels.unpack(levels.pack(bins)) == bins
    ordered = sorted(values, reverse=True)
    for percent in (5, 10, 50, 90, 95):
        exact = ordered[math.ceil(len(ordered) * percent / 100) - 1]
        assert levels.exceeded(bins, percent) == pytest.approx(exact, abs=0.0500001)


def test_a_histogram_of_nothing() -> None:
    assert levels.pack(Counter()) == b""
    assert levels.unpack(b"") == Counter()
    assert levels.exceeded(Counter(), 10) is None


# --- closing, cutting, late data ------------------------------------------------------------------------------------


def test_a_level_window_never_crosses_the_end_of_the_day() -> None:
    start_ms = at("2026-03-05 21:30")
    minutes = [of_values(LEVEL, start_ms + n * M, [80.0 if n < 30 else 50.0]) for n in range(50)]
    told = [result for _, result in run(LEVEL, minutes, Wanted(LAST_20, Statistic.MEAN))]
    assert told[29].value == pytest.approx(80.0)
    night_ms = at("2026-03-05 22:00")
    assert all(result.start_ms >= night_ms for result in told[30:])
    assert [result.value for result in told[30:44]] == [None] * 14  # a minute of night is no twenty minutes' level
    assert told[44].value == pytest.approx(50.0)
    assert told[44].expected_minutes == 20


def test_dust_windows_do_cross_it() -> None:
    start_ms = at("2026-03-05 21:50")
    minutes = [of_values(PM10, start_ms + n * M, [100.0]) for n in range(20)]
    last = run(PM10, minutes, Wanted(LAST_20, Statistic.MEAN))[-1][1]
    assert (last.start_ms, last.value) == (start_ms, 100.0)


@pytest.mark.parametrize(("present", "value"), [(45, 50.0), (44, None)])
def test_45_of_60_minutes_are_enough_and_44_are_not(present: int, value: float | None) -> None:
    start_ms = at("2026-03-05 10:00")
    minutes = [of_values(PM10, start_ms + n * M, [50.0], 1.0 if n < present else 0.74) for n in range(60)]
    (hour,) = closed(run(PM10, minutes, Wanted(HOUR, Statistic.MEAN)))
    assert (hour.value, hour.enough, hour.valid_share) == (value, value is not None, present / 60)


def test_minutes_left_out_are_expected_but_not_good() -> None:
    start_ms = at("2026-03-05 10:00")
    windows = SeriesWindows(LEVEL, [Wanted(FIXED["5min"], Statistic.MAX, valid_share=0.6)], CHINA)
    judged: list[Judged] = []
    for n in range(5):
        level = 90.0 if n == 2 else 60.0 + n
        judged += windows.add(of_values(LEVEL, start_ms + n * M, [level]), left_out=n == 2)
    (block,) = closed(judged)
    assert (block.value, block.good_minutes, block.expected_minutes) == (64.0, 4, 5)
    again = windows.add(of_values(LEVEL, start_ms + 4 * M, [64.0]), left_out=True)  # the wind came a moment later
    assert [(r.value, r.corrected) for r in closed(again)] == [(63.0, True)]


def test_silence_closes_windows_without_data() -> None:
    start_ms = at("2026-03-05 10:00")
    windows = SeriesWindows(PM10, [Wanted(HOUR, Statistic.MEAN), Wanted(LAST_20, Statistic.MEAN)], CHINA)
    for n in range(60):
        windows.add(of_values(PM10, start_ms + n * M, [50.0]))
    assert windows.advance(start_ms + 61 * M) == []
    judged = [each for minute in range(61, 122) for each in windows.advance(start_ms + minute * M + 10_000)]
    (hour,) = closed(judged)
    assert (hour.start_ms, hour.value, hour.valid_share, hour.enough) == (start_ms + 60 * M, None, 0.0, False)
    sliding = [result for wanted, result in judged if wanted.window.sliding]
    assert [result.value for result in sliding[:6]] == [50.0] * 5 + [None]
    assert [result.valid_share for result in sliding[:2]] == [0.95, 0.9]


def test_a_series_that_never_spoke_has_not_enough_data() -> None:
    windows = SeriesWindows(PM10, [Wanted(HOUR, Statistic.MEAN)], CHINA)
    start_ms = at("2026-03-05 10:30")
    judged = [each for minute in range(40) for each in windows.advance(start_ms + minute * M)]
    (hour,) = closed(judged)
    assert (hour.end_ms, hour.value, hour.enough) == (at("2026-03-05 11:00"), None, False)


def test_late_data_opens_a_closed_window_again() -> None:
    start_ms = at("2026-03-05 10:00")
    windows = SeriesWindows(PM10, [Wanted(HOUR, Statistic.MEAN)], CHINA)
    for n in range(61):
        if not 10 <= n < 30:
            windows.add(of_values(PM10, start_ms + n * M, [100.0]))
    told = [result for n in range(10, 30) for _, result in windows.add(of_values(PM10, start_ms + n * M, [400.0]))]
    assert all(result.closed and result.corrected for result in told)
    assert (told[-1].value, told[-1].enough) == (pytest.approx(200.0), True)
    assert (told[0].value, told[0].enough) == (None, False)  # 41 of 60
    assert windows.add(of_values(PM10, start_ms + 15 * M, [400.0])) == []  # the same once more is no correction


def test_older_late_data_is_left_to_the_ledger() -> None:
    start_ms = at("2026-03-05 10:00")
    windows = SeriesWindows(PM10, [Wanted(HOUR, Statistic.MAX), Wanted(FIXED["24h"], Statistic.MAX, 0.0)], CHINA)
    stored = {start_ms + n * M: of_values(PM10, start_ms + n * M, [float(n)]) for n in range(600)}
    for minute in stored.values():
        windows.add(minute)
    assert windows.stale() == []
    late = stored[start_ms + 7 * M] = of_values(PM10, start_ms + 7 * M, [5000.0])
    assert windows.add(late) == []
    day = CHINA.window("24h", start_ms)
    assert day is not None
    hour = Span(start_ms, start_ms + 60 * M)
    assert windows.stale() == [(HOUR, hour), (FIXED["24h"], day)]
    assert windows.stale() == []
    (found,) = windows.judge_again(HOUR, hour, [m for m in stored.values() if m.start_ms < hour.end_ms])
    assert (found[1].value, found[1].closed, found[1].corrected) == (5000.0, True, True)
    (found,) = windows.judge_again(FIXED["24h"], day, stored.values())
    assert (found[1].value, found[1].closed, found[1].corrected) == (5000.0, False, False)
    (following,) = [r for w, r in windows.add(of_values(PM10, start_ms + 600 * M, [1.0])) if w.window.length == "24h"]
    assert (following.value, following.good_minutes) == (5000.0, 601)  # the day goes on from there


def test_after_a_start_the_windows_are_those_of_before() -> None:
    start_ms = at("2026-03-05 05:00")
    wanted = [Wanted(w, Statistic.MEAN, 0.1) for w in (*FIXED.values(), LAST_20, LAST_24H)]
    minutes = [of_values(LEVEL, start_ms + n * M, [50.0 + n % 17]) for n in range(400)]
    through, again = (SeriesWindows(LEVEL, wanted, CHINA) for _ in range(2))
    before = [judged for minute in minutes[:399] for judged in through.add(minute)]
    now_ms = start_ms + 399 * M + 2000
    since_ms = again.since_ms(now_ms)
    assert since_ms <= start_ms  # the day before yesterday's night is asked for too
    loaded = again.load([m for m in minutes[:399] if m.start_ms >= since_ms], now_ms)
    told = {(w, r.start_ms): r.value for w, r in before if r.closed}
    assert loaded
    for each, result in loaded:
        assert result.closed
        assert not result.corrected
        if result.start_ms >= start_ms:
            assert result.value == pytest.approx(told[each, result.start_ms])
    assert again.stale() == []
    assert dict(through.add(minutes[399])) == dict(again.add(minutes[399]))


def test_a_long_pause_is_not_told_window_by_window() -> None:
    start_ms = at("2026-03-05 10:00")
    windows = SeriesWindows(PM10, [Wanted(FIXED["5min"], Statistic.MEAN)], CHINA)
    windows.add(of_values(PM10, start_ms, [1.0]))
    missed = closed(windows.advance(start_ms + 400 * 24 * 60 * M))
    assert missed[0].start_ms == start_ms
    assert 10 < len(missed) < 30


def test_a_stamp_of_the_future_is_not_believed_and_a_clock_set_back_begins_anew() -> None:
    start_ms = at("2026-03-05 10:00")
    windows = SeriesWindows(PM10, [Wanted(LAST_20, Statistic.MAX, 0.0), Wanted(HOUR, Statistic.MAX, 0.0)], CHINA)
    far_ms = start_ms + 30 * 24 * 60 * M
    assert windows.add(of_values(PM10, far_ms, [9.0]), now_ms=start_ms) == []
    assert windows.add(of_values(PM10, far_ms, [9.0]), now_ms=far_ms + M)
    found = windows.add(of_values(PM10, start_ms, [1.0]), now_ms=start_ms + M)
    assert [(r.end_ms, r.value) for w, r in found if w.window.sliding] == [(start_ms + M, 1.0)]
    assert windows.stale() == [(HOUR, Span(start_ms, start_ms + 60 * M))]


@pytest.mark.parametrize(
    ("metric", "window", "statistic", "sentence"),
    [
        (PM10, WindowSpec("7min", False), Statistic.MEAN, "'7min' is not a window; use one of 1min, 5min"),
        (PM10, WindowSpec("night", True), Statistic.MEAN, "a night is fixed to the clock; write sliding: false"),
        (PM10, HOUR, Statistic.L10, "pm10_ug_m3 has no l10; it has mean, max, min, last"),
        (ENERGY, HOUR, Statistic.MEAN, "energy_import_kwh has no mean; it has last, delta"),
        (LEVEL, HOUR, Statistic.LDN, "ldn needs a window of 24h or month, not 60min"),
    ],
)
def test_what_cannot_be_asked(metric: str, window: WindowSpec, statistic: Statistic, sentence: str) -> None:
    assert (impossible(metric, window, statistic) or "").startswith(sentence)
    with pytest.raises(ValueError, match=sentence.split(";", maxsplit=1)[0]):
        SeriesWindows(metric, [Wanted(window, statistic)], CHINA)


# --- results against each other --------------------------------------------------------------------------------------


def told(value: float | None, start_ms: int = 0, share: float = 1.0, closed: bool = True) -> WindowResult:
    return WindowResult(start_ms, start_ms + 60 * M, value, share, 60, 60, value is not None, closed, False)


def test_difference_to_an_area_station_subtracts_at_most_the_cap() -> None:
    assert difference(told(260), told(120), 150).value == 140
    assert difference(told(260), told(200), 150).value == 110  # Hebei: of a polluted county only 150 are subtracted
    assert difference(told(260), told(200)).value == 60
    missing = difference(told(260), told(None, share=0.5), 150)
    assert (missing.value, missing.enough, missing.valid_share) == (None, False, 0.5)
    with pytest.raises(ValueError, match="different windows"):
        difference(told(1), told(1, start_ms=60 * M))


def test_ratio_spread_and_percent() -> None:
    assert ratio(told(300), told(150)).value == 2.0
    assert ratio(told(300), told(0.0)).value is None
    assert spread([told(150), told(162, share=0.8), told(None, share=0.1)]).value == 12
    assert spread([told(150), told(162, share=0.8)]).valid_share == 0.8
    assert spread([told(150), told(None)]).value is None
    assert not spread([told(1), told(2, closed=False)]).closed
    assert percent_of(4.5, 5.0) == 90.0
    assert percent_of(4.5, 0.0) is None


def test_exceedances_are_counted_per_local_date_and_a_correction_counts_once() -> None:
    first_ms = at("2026-03-05 22:00")
    results = [
        told(81, first_ms),
        told(79, first_ms + 60 * M),
        told(80, first_ms + 120 * M),
        told(99, first_ms + 180 * M),
    ]
    assert exceedances(results, 80, CHINA) == {date(2026, 3, 5): 1, date(2026, 3, 6): 1}
    results += [
        told(85, first_ms + 60 * M),
        told(None, first_ms + 180 * M),
        told(200, first_ms + 240 * M, closed=False),
    ]
    assert exceedances(results, 80, CHINA) == {date(2026, 3, 5): 2, date(2026, 3, 6): 0}


# --- cost and drift -------------------------------------------------------------------------------------------------


def test_a_quiet_minute_after_weeks_of_thunder_is_exact() -> None:
    start_ms = at("2026-03-05 10:00")
    windows = SeriesWindows(LEVEL, [Wanted(LAST_20, Statistic.MEAN)], CHINA)
    for n in range(3000):
        windows.add(of_values(LEVEL, start_ms + n * M, [139.7 if n % 3 else 113.3]))
    for n in range(3000, 3020):
        result = windows.add(of_values(LEVEL, start_ms + n * M, [20.1]))[-1][1]
    assert result.value == pytest.approx(20.1, abs=1e-12)


def test_a_minute_costs_the_same_after_a_week_as_at_the_beginning() -> None:
    start_ms = at("2026-03-05 10:00")
    wanted = [Wanted(w, s) for w in (HOUR, LAST_20, FIXED["24h"]) for s in (Statistic.MEAN, Statistic.MAX)]

    def cost_s(windows: SeriesWindows, first: int) -> float:
        minutes = [of_values(PM10, start_ms + n * M, [50.0 + n % 7]) for n in range(first, first + 600)]
        began_s = stopwatch.process_time()
        for minute in minutes:
            windows.add(minute)
        return stopwatch.process_time() - began_s

    windows = SeriesWindows(PM10, wanted, CHINA)
    young_s = min(cost_s(SeriesWindows(PM10, wanted, CHINA), 0) for _ in range(3))
    for first in range(0, 9600, 600):
        cost_s(windows, first)
    old_s = min(cost_s(windows, first) for first in (9600, 10200, 10800))
    assert old_s < 2.5 * young_s
