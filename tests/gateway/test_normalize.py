"""Raw numbers to honest readings."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.profile import PointRule
from gateway.model import Mark
from gateway.pipeline.counter import CounterGuard
from gateway.pipeline.fanout import Pipeline
from gateway.pipeline.normalize import Normalizer
from gateway.vocabulary import METRICS


def rule(metric: str, **changes: object) -> PointRule:
    base: dict[str, object] = {
        "metric": METRICS[metric],
        "every_s": 5.0,
        "multiply": 1.0,
        "divide": 1.0,
        "offset": 0.0,
        "low": METRICS[metric].low,
        "high": METRICS[metric].high,
        "sentinels": frozenset(),
        "wrap": None,
        "max_per_hour": None,
    }
    return PointRule(**(base | changes))  # type: ignore[arg-type]


def test_scale_is_exact() -> None:
    normalizer = Normalizer("m", [rule("voltage_l1_v", divide=10.0), rule("current_l1_a", divide=1000.0)])
    readings = normalizer.apply((2297, 1234), 1_000)
    assert readings.values == (229.7, 1.234)
    assert readings.marks == "NN"
    assert readings.all_good


def test_whole_numbers_become_floats() -> None:
    readings = Normalizer("m", [rule("voltage_l1_v")]).apply((230,), 1_000)
    assert isinstance(readings.values[0], float)


@pytest.mark.parametrize(
    ("raw", "mark"),
    [
        (0xFFFF, "D"),
        (None, "D"),
        (math.nan, "D"),
        (math.inf, "T"),
        (-math.inf, "T"),
        (12_000, "T"),
        (-1, "T"),
        (42, "N"),
    ],
)
def test_one_odd_number_is_marked_and_its_neighbour_lives(raw: float | None, mark: str) -> None:
    normalizer = Normalizer("dust", [rule("pm10_ug_m3", sentinels=frozenset({0xFFFF})), rule("pm2_5_ug_m3")])
    readings = normalizer.apply((raw, 17), 1_000)
    assert readings.marks == mark + "N"
    assert readings.values == ((42.0 if mark == "N" else None), 17.0)


def test_offset_and_multiplier() -> None:
    readings = Normalizer("w", [rule("illuminance_lx", multiply=100.0), rule("air_temperature_c", offset=-40.0)]).apply(
        (12, 65), 1_000
    )
    assert readings.values == (1200.0, 25.0)


def test_two_answers_in_one_millisecond_both_stay() -> None:
    normalizer = Normalizer("m", [rule("voltage_l1_v")])
    assert [normalizer.apply((1,), 5_000).time_ms, normalizer.apply((2,), 5_000).time_ms] == [5_000, 5_001]


def test_any_number_of_answers_with_the_same_stamp_stay_apart() -> None:
    """A device whose stamps are whole seconds sends three times in one."""
    normalizer = Normalizer("m", [rule("voltage_l1_v")])
    asked = [5_000, 5_000, 5_000, 5_001, 6_000, 4_000, 4_000]
    given = [normalizer.apply((n,), t).time_ms for n, t in enumerate(asked)]
    assert given == [5_000, 5_001, 5_002, 5_003, 6_000, 4_000, 4_001]


RAW = st.one_of(st.none(), st.integers(-(2**63), 2**63), st.floats())


@given(st.lists(st.tuples(RAW, RAW, RAW), min_size=1, max_size=8))
def test_only_finite_values_in_range_ever_come_out(answers: list[tuple[float | None, ...]]) -> None:
    rules = [rule("pm10_ug_m3", divide=10.0), rule("energy_import_kwh", divide=100.0, wrap=1e6), rule("power_factor")]
    normalizer = Normalizer("m", rules)
    for n, raw in enumerate(answers):
        readings = normalizer.apply(raw, 1_000 * n)
        for value, mark, r in zip(readings.values, readings.marks, rules, strict=True):
            assert (value is not None) == (mark == "N")
            if value is not None:
                assert isinstance(value, float)
                assert r.low <= value <= r.high


def test_fast_and_slow_path_agree() -> None:
    rules = [rule("voltage_l1_v", divide=10.0), rule("active_power_w", multiply=1000.0), rule("pm10_ug_m3")]
    together = Normalizer("m", rules).apply((2297, 1.5, 7), 1_000)
    beside_a_bad_one = Normalizer("m", [*rules, rule("noise_la_db")]).apply((2297, 1.5, 7, None), 1_000)
    assert beside_a_bad_one.values[:3] == together.values


# --- counters ---------------------------------------------------------------------------------------------------------


def test_a_wrap_goes_on() -> None:
    guard = CounterGuard(wrap=1_000_000.0)
    assert [guard.judge(v, t) for t, v in enumerate([999_998.5, 999_999.9, 0.3, 1.0])] == [True] * 4
    assert (guard.wraps, guard.resets) == (1, 0)


def test_a_dip_is_not_believed_and_leaves_no_trace() -> None:
    guard = CounterGuard()
    assert [guard.judge(v, t) for t, v in enumerate([100.0, 0.0, 100.1])] == [True, False, True]
    assert guard.resets == 0


def test_a_replaced_meter_is_believed_at_its_second_reading() -> None:
    guard = CounterGuard()
    assert [guard.judge(v, t) for t, v in enumerate([5_000.0, 3.0, 3.1, 3.2])] == [True, False, True, True]
    assert guard.resets == 1


def test_a_leap_faster_than_plausible_must_be_confirmed() -> None:
    guard = CounterGuard(max_per_hour=60.0)
    minute = 60_000
    assert guard.judge(100.0, 0)
    assert not guard.judge(65_636.0, minute)
    assert guard.judge(101.0, 2 * minute)
    assert guard.resets == 0


def test_pipeline_hands_the_same_record_to_everyone_and_shares_counter_memory() -> None:
    seen: list[list[object]] = [[], []]
    pipeline = Pipeline({"m": {"energy_import_kwh": rule("energy_import_kwh")}}, [seen[0].append, seen[1].append])
    take = pipeline.prepare("m", ("energy_import_kwh",))
    take((50,), 1_000)
    take((49,), 2_000)
    pipeline.missed("m", ("energy_import_kwh",), Mark.NO_ANSWER, 3_000)
    assert seen[0] == seen[1]
    assert [r.marks for r in seen[0]] == ["N", "T", "B"]  # type: ignore[attr-defined]
    assert pipeline.counters() == {}
