"""Minutes against an obvious, slow reference."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.bucket import bucket
from gateway.ledger.minute import (
    CounterState,
    DeviceMinute,
    Minute,
    Track,
    increment,
    kind_of,
    mean_of,
    merge,
)
from gateway.ledger.records import as_readings
from gateway.model import Readings
from gateway.vocabulary import Kind

START_MS = 1_790_000_040_000
GAUGE, LEVEL, ANGLE, COUNT, STATE = "pm10_ug_m3", "noise_la_db", "wind_direction_deg", "energy_import_kwh", "running"
ALL = (GAUGE, LEVEL, ANGLE, COUNT, STATE)
LIMITS = {GAUGE: (0, 10_000), LEVEL: (20, 140), ANGLE: (0, 359), COUNT: (0, 1e6), STATE: (0, 1)}


def close(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-7)


@st.composite
def rows(draw: st.DrawFn, most: int = 30) -> list[Readings]:
    """Records of one device in one minute, in the order of time, in changing shapes, with bad marks among them."""
    result = []
    times = sorted(draw(st.lists(st.integers(0, 59_999), min_size=1, max_size=most, unique=True)))
    shapes = draw(st.lists(st.lists(st.sampled_from(ALL), min_size=1, unique=True).map(tuple), min_size=1, max_size=3))
    for time in times:
        metrics = draw(st.sampled_from(shapes))
        marks = draw(
            st.one_of(st.just("N" * len(metrics)), st.text("NNNBTD", min_size=len(metrics), max_size=len(metrics)))
        )
        values = tuple(
            draw(st.floats(*LIMITS[metric])) if mark == "N" else None
            for metric, mark in zip(metrics, marks, strict=True)
        )
        result.append(Readings("d", START_MS + time, metrics, values, marks))
    return result


def minutes_of(records: list[Readings], expected: dict[str, float] | None = None) -> dict[str, Minute]:
    minute = DeviceMinute("d", START_MS, Track())
    for r in records:
        minute.put(r)
    return {m.metric: m for m in minute.minutes(expected or {})}


def grown(values: list[float]) -> float:
    """The increase by the book: a fall is none, nor is the leap back to where the register stood before it."""
    total, top = 0.0, None
    for a, b in pairwise(values):
        if b < a:
            top = max(a, top or 0.0)
        elif top is not None and b >= top:
            total += b - (top if a < top / 2 else a)
            top = None
        else:
            total += b - a
    return total


def reference(metric: str, records: list[Readings], expected: float) -> Minute:
    """The same by the book: one value after the other."""
    good, bad = [], Counter[str]()
    for r in records:
        for name, value, mark in zip(r.metrics, r.values, r.marks, strict=True):
            if name == metric and mark == "N":
                good.append((r.time_ms, float(value or 0)))
            elif name == metric:
                bad[mark] += 1
    seen = len(good) + bad.total()
    if not good:
        return Minute("d", metric, START_MS, 0, seen, 0.0, mark=bad.most_common(1)[0][0])
    values = [v for _, v in good]
    mean = resultant = delta = None
    kind, low, high = kind_of(metric), min(values), max(values)
    if kind is Kind.GAUGE:
        mean = math.fsum(values) / len(values)
    elif kind is Kind.LEVEL_DB:
        mean = 10 * math.log10(math.fsum(10 ** (v / 10) for v in values) / len(values))
    elif kind is Kind.DIRECTION:
        east = math.fsum(math.sin(math.radians(v)) for v in values) / len(values)
        north = math.fsum(math.cos(math.radians(v)) for v in values) / len(values)
        resultant = math.hypot(east, north)
        mean = math.degrees(math.atan2(east, north)) % 360
    elif kind is Kind.COUNTER:
        delta = grown(values)
    share = len(good) / max(expected, seen)
    return Minute(
        "d", metric, START_MS, len(good), bad.total(), share, None if kind is Kind.DIRECTION else low,
        None if kind is Kind.DIRECTION else high, mean, good[-1][1], good[-1][0], delta, resultant,
    )  # fmt: skip


def assert_equal(a: Minute, b: Minute) -> None:
    assert (a.metric, a.start_ms, a.count, a.bad, a.last, a.last_ms) == (
        b.metric,
        b.start_ms,
        b.count,
        b.bad,
        b.last,
        b.last_ms,
    )
    for name in ("low", "high", "valid_share", "delta", "resultant"):
        assert close(getattr(a, name), getattr(b, name)), name
    if kind_of(a.metric) is Kind.DIRECTION and a.mean is not None and b.mean is not None:
        if (b.resultant or 0) > 1e-6:  # the direction of next to nothing is noise
            turn = abs(a.mean - b.mean) % 360
            assert min(turn, 360 - turn) < 1e-3
    elif kind_of(a.metric) is not Kind.DIRECTION:
        assert close(a.mean, b.mean)


@given(rows(), st.floats(0.1, 120))
def test_minutes_are_what_the_book_says(records: list[Readings], expected: float) -> None:
    found = minutes_of(records, dict.fromkeys(ALL, expected))
    assert set(found) == {metric for r in records for metric in r.metrics}
    for metric, minute in found.items():
        book = reference(metric, records, expected)
        assert_equal(minute, book)
        if not minute.count:
            marks = Counter(m for r in records for n, m in zip(r.metrics, r.marks, strict=True) if n == metric)
            assert marks[minute.mark] == max(marks.values())


@given(rows(), st.data())
def test_asking_twice_and_in_between_changes_nothing(records: list[Readings], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(records)))
    minute = DeviceMinute("d", START_MS, Track())
    for r in records[:cut]:
        minute.put(r)
    minute.minutes({})
    for r in records[cut:]:
        minute.put(r)
    again = {m.metric: m for m in minute.minutes({})}
    for metric, whole in minutes_of(records).items():
        assert_equal(again[metric], whole)


@given(rows(), st.data())
def test_two_parts_merge_to_the_whole_in_either_order(records: list[Readings], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(records)))
    first, second = minutes_of(records[:cut]), minutes_of(records[cut:])
    for metric, whole in minutes_of(records).items():
        if metric in first and metric in second:
            for one, two in ((first, second), (second, first)):
                both = merge(one[metric], two[metric], 0.0)
                if kind_of(metric) is Kind.COUNTER:  # the step between the parts is known only to who sees both
                    assert both.last == whole.last
                    assert both.count == whole.count
                else:
                    assert_equal(both, whole)


def level(*values: float) -> Minute:
    return minutes_of([Readings("d", START_MS + n, (LEVEL,), (v,), "N") for n, v in enumerate(values)])[LEVEL]


def test_energy_mean_of_60_and_80_db_is_77() -> None:
    assert level(60, 80).mean == pytest.approx(76.99, abs=0.05)
    assert level(60.0).mean == 60.0
    late = merge(level(60), level(80), 2.0)
    assert late.mean == pytest.approx(76.99, abs=0.05)
    assert late.valid_share == 1.0
    assert mean_of(Kind.LEVEL_DB, [(60, 3, None), (80, 1, None)])[0] == pytest.approx(74.108, abs=0.001)


def test_wind_from_350_and_10_is_north() -> None:
    records = [Readings("d", START_MS + n, (ANGLE,), (v,), "N") for n, v in enumerate((350.0, 10.0))]
    minute = minutes_of(records)[ANGLE]
    assert min(minute.mean or 0.0, 360 - (minute.mean or 0.0)) == pytest.approx(0, abs=1e-6)
    assert minute.resultant == pytest.approx(math.cos(math.radians(10)))
    assert (minute.low, minute.high) == (None, None)


def test_winds_that_cancel_out_have_no_direction() -> None:
    records = [Readings("d", START_MS + n, (ANGLE,), (v,), "N") for n, v in enumerate((90.0, 270.0))]
    minute = minutes_of(records)[ANGLE]
    assert (minute.mean, minute.resultant, minute.count) == (None, 0.0, 2)
    record = as_readings([minute])[0]
    assert dict(zip(record.metrics, record.marks, strict=True))[f"{ANGLE}:mean"] == "D"


@pytest.mark.parametrize(
    ("old", "new", "wrap", "expected"),
    [
        (10.0, 12.5, None, (2.5, False)),
        (10.0, 10.0, None, (0.0, False)),
        (10.0, 3.0, None, (0.0, True)),
        (65530.0, 4.0, 65536.0, (10.0, False)),
        (30000.0, 4.0, 65536.0, (0.0, True)),
        (65530.0, 40000.0, 65536.0, (0.0, True)),
    ],
)
def test_increment(old: float, new: float, wrap: float | None, expected: tuple[float, bool]) -> None:
    assert increment(old, new, wrap) == expected


def test_a_counter_is_followed_across_minutes_and_shapes() -> None:
    track = Track()
    first, second = DeviceMinute("d", START_MS, track), DeviceMinute("d", START_MS + 60_000, track)
    wide, narrow = (COUNT, GAUGE), (COUNT,)
    first.put(Readings("d", START_MS + 1, wide, (100.0, 1.0), "NN"))
    first.put(Readings("d", START_MS + 2, narrow, (101.0,), "N"))
    first.put(Readings("d", START_MS + 3, wide, (103.0, 1.0), "NN"))
    second.put(Readings("d", START_MS + 60_001, wide, (None, 1.0), "BN"))
    second.put(Readings("d", START_MS + 60_002, narrow, (110.0,), "N"))
    one, two = ({m.metric: m for m in minute.minutes({})}[COUNT] for minute in (first, second))
    assert (one.delta, one.last, one.count, one.mean) == (3.0, 103.0, 3, None)
    assert (two.delta, two.last, two.count, two.bad) == (7.0, 110.0, 1, 1)


def test_a_late_reading_moves_no_counter() -> None:
    track = Track({COUNT: CounterState()})
    minute = DeviceMinute("d", START_MS, track)
    for time, value in ((1, 5.0), (30, 9.0), (15, 7.0), (40, 10.0)):
        minute.put(Readings("d", START_MS + time, (COUNT,), (value,), "N"))
    found = minute.minutes({})[0]
    assert (found.delta, found.last, found.count, found.reset) == (5.0, 10.0, 4, False)


def test_a_fall_counts_nothing_and_is_flagged_and_a_wrap_counts() -> None:
    for wrap, expected in ((None, (1.0, True)), (1000.0, (7.0, False))):
        minute = DeviceMinute("d", START_MS, Track({COUNT: CounterState(wrap)}))
        for time, value in enumerate((995.0, 1.0, 2.0)):
            minute.put(Readings("d", START_MS + time, (COUNT,), (value,), "N"))
        found = minute.minutes({})[0]
        assert (found.delta, found.reset) == expected


def test_a_meter_that_shows_zeros_while_it_starts_has_counted_nothing() -> None:
    """Twice zero is believed, for the meter may have been replaced; then the register is back."""
    minute = DeviceMinute("d", START_MS, Track({COUNT: CounterState()}))
    for time, value in enumerate((5000.0, 0.0, 0.0, 5000.5, 5001.0)):
        minute.put(Readings("d", START_MS + time, (COUNT,), (value,), "N"))
    found = minute.minutes({})[0]
    assert (found.delta, found.reset) == (1.0, True)


def test_a_replaced_meter_goes_on_from_where_it_stands() -> None:
    minute = DeviceMinute("d", START_MS, Track({COUNT: CounterState()}))
    for time, value in enumerate((50.0, 1.0, 30.0, 49.0, 51.0)):
        minute.put(Readings("d", START_MS + time, (COUNT,), (value,), "N"))
    assert minute.minutes({})[0].delta == 50.0


def test_share_is_by_what_was_expected() -> None:
    records = [Readings("d", START_MS + n, (GAUGE,), (1.0,), "N") for n in range(9)]
    bad = Readings("d", START_MS + 9, (GAUGE,), (None,), "B")
    assert minutes_of([*records, bad], {GAUGE: 12.0})[GAUGE].valid_share == 0.75
    assert minutes_of([*records, bad], {GAUGE: 5.0})[GAUGE].valid_share == 0.9
    assert minutes_of(records, {GAUGE: 0.2})[GAUGE].valid_share == 1.0


def test_buckets_by_kind() -> None:
    def minutes(metric: str, *values: float) -> list[Minute]:
        track = Track()
        result = []
        for n, value in enumerate(values):
            minute = DeviceMinute("d", n * 60_000, track)
            minute.put(Readings("d", n * 60_000 + 5, (metric,), (value,), "N"))
            result += minute.minutes({})
        return result

    assert bucket(0, minutes(LEVEL, 60, 80), 2).mean == pytest.approx(76.99, abs=0.05)
    energy = bucket(0, minutes(COUNT, 100, 101, 104), 6)
    assert (energy.mean, energy.delta, energy.low, energy.high, energy.valid_share) == (104, 4, 100, 104, 0.5)
    state = bucket(0, minutes(STATE, 0, 1, 0), 3)
    assert (state.mean, state.low, state.high) == (0, 0, 1)
    wind = bucket(0, minutes(ANGLE, 350, 10), 2)
    assert min(wind.mean or 0, 360 - (wind.mean or 0)) == pytest.approx(0, abs=1e-6)
    assert (wind.low, wind.high) == (None, None)


def test_minutes_become_records_named_by_statistic() -> None:
    records = [
        Readings("d", START_MS + 1, ALL, (10.0, 60.0, 90.0, 5.0, 1.0), "NNNNN"),
        Readings("d", START_MS + 2, ALL, (20.0, 80.0, None, 7.0, 0.0), "NNTNN"),
    ]
    expected = dict.fromkeys(ALL, 2.0)
    first, second = as_readings(minutes_of(records, expected).values())[0], as_readings(minutes_of(records).values())[0]
    values = dict(zip(first.metrics, first.values, strict=True))
    assert first.time_ms == START_MS
    assert first.metrics is second.metrics
    assert first.all_good
    assert values == {
        "energy_import_kwh:last": 7.0, "energy_import_kwh:delta": 2.0, "energy_import_kwh:count": 2.0,
        "energy_import_kwh:share": 1.0, "noise_la_db:mean": pytest.approx(76.99, abs=0.05), "noise_la_db:min": 60.0,
        "noise_la_db:max": 80.0, "noise_la_db:count": 2.0, "noise_la_db:share": 1.0, "pm10_ug_m3:mean": 15.0,
        "pm10_ug_m3:min": 10.0, "pm10_ug_m3:max": 20.0, "pm10_ug_m3:count": 2.0, "pm10_ug_m3:share": 1.0,
        "running:last": 0.0, "running:count": 2.0, "running:share": 1.0, "wind_direction_deg:mean": pytest.approx(90.0),
        "wind_direction_deg:count": 1.0, "wind_direction_deg:share": 0.5,
    }  # fmt: skip


def test_a_minute_without_good_readings_keeps_its_shape_and_says_why() -> None:
    good = as_readings(minutes_of([Readings("d", START_MS, (GAUGE,), (1.0,), "N")]).values())[0]
    silent = as_readings(minutes_of([Readings("d", START_MS, (GAUGE,), (None,), "B")]).values())[0]
    assert silent.metrics is good.metrics
    assert silent.marks == "BBBNN"
    assert silent.values == (None, None, None, 0.0, 0.0)
