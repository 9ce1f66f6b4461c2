"""Numbers that are none, wrong readings of right bytes, and counters that start again (faults 99 to 105)."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.driver import Point, read_example
from gateway.ledger.minute import MINUTE_MS, CounterState, DeviceMinute, Track
from gateway.pipeline.normalize import Normalizer
from tests.gateway.test_normalize import rule

ENERGY = "energy_import_kwh"


def judged(metric: str, raw: float, **changes: object) -> tuple[float | None, str]:
    readings = Normalizer("m", [rule(metric, **changes)]).apply((raw,), 1_000)
    return readings.values[0], readings.marks


# --- numbers that are none ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [5e-324, -5e-324, 2.4e-41, 1.18e-38])
def test_a_number_next_to_nothing_is_no_value(raw: float) -> None:
    """Fault 99: a denormal is noise, or a whole number whose words were swapped; zero itself is a value."""
    assert judged("voltage_l1_v", raw) == (None, "D")
    assert judged("air_temperature_c", raw, offset=-40.0) == (None, "D"), "the offset does not hide it"
    readings = Normalizer("m", [rule("voltage_l1_v"), rule("frequency_hz")]).apply((0.0, raw), 1_000)
    assert (readings.values, readings.marks) == ((0.0, None), "ND")


@pytest.mark.parametrize("raw", [0xFFFF, 0x7FFF, 0x8000, -32768, -999, -999.0, 9999])
def test_each_sentinel_of_a_point_is_no_value(raw: float) -> None:
    """Fault 100. The list is the point's own: the same number is a value, or out of range, elsewhere."""
    for offset in (0.0, -40.0):
        assert judged("active_power_w", raw, sentinels=frozenset({raw}), offset=offset) == (None, "D")
        assert judged("active_power_w", raw, offset=offset) == (raw + offset, "N")


# --- right bytes read wrongly ------------------------------------------------------------------------------------

REAL = [
    ("voltage_l1_v", 230.5),
    ("voltage_l1_v", 230.0),
    ("frequency_hz", 50.0),
    ("frequency_hz", 49.98),
    ("pm10_ug_m3", 81.25),
]
"""Ranges around zero cannot always tell: 0.87 of a power factor in the order cdab is -0.00005."""
ORDERS = {
    "cdab": Point("holding", 0, "f32", word_order="low_first"),
    "badc": Point("holding", 0, "f32", byte_order="low_first"),
    "dcba": Point("holding", 0, "f32", word_order="low_first", byte_order="low_first"),
}


@pytest.mark.parametrize(("metric", "value"), REAL)
@pytest.mark.parametrize("wrong", ORDERS)
def test_a_float_in_the_wrong_order_is_no_value(metric: str, value: float, wrong: str) -> None:
    """Fault 101: the range says so loudly, wherever it can tell."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    raw = {"holding": {0: [high, low]}}
    right = read_example({metric: Point("holding", 0, "f32")}, raw)[metric]
    shown, mark = judged(metric, right or 0.0)
    assert (round(shown or 0.0, 3), mark) == (value, "N")
    number = read_example({metric: ORDERS[wrong]}, raw)[metric]
    assert judged(metric, number or 0.0)[0] is None


@pytest.mark.parametrize(
    ("metric", "raw", "right", "wrong"),
    [
        ("air_temperature_c", 65_481, {}, {"divide": 10.0}),  # -5.5 °C sent as s16, read as u16
        ("frequency_hz", 4_998, {"divide": 100.0}, {}),
        ("humidity_pct", 512, {"divide": 10.0}, {}),
        ("power_factor", 870, {"divide": 1000.0}, {"divide": 100.0}),
        ("pressure_kpa", 1013, {"divide": 10.0}, {"divide": 1.0}),  # hPa after a change of firmware
    ],
)
def test_a_wrong_sign_or_scale_is_out_of_range(
    metric: str, raw: int, right: dict[str, float], wrong: dict[str, float]
) -> None:
    """Fault 102."""
    assert judged(metric, raw, **wrong) == (None, "T")
    signed = raw - 65_536 if raw > 32_767 else raw
    assert judged(metric, signed, **(right or wrong))[1] == "N"


# --- counters ----------------------------------------------------------------------------------------------------


def consumption(register: list[float], wrap: float | None, max_per_hour: float | None = None) -> tuple[float, int]:
    """What the minutes say was consumed, one reading a minute, and how many of them were flagged as resets."""
    normalizer = Normalizer("m", [rule(ENERGY, wrap=wrap, max_per_hour=max_per_hour)])
    track, total, resets = Track({ENERGY: CounterState(wrap)}), 0.0, 0
    for n, value in enumerate(register):
        minute = DeviceMinute("m", n * MINUTE_MS, track)
        minute.put(normalizer.apply((value,), n * MINUTE_MS + 500))
        (found,) = minute.minutes({})
        if found.delta is not None:
            assert found.delta >= 0, "negative consumption"
            total += found.delta
        resets += found.reset
    return total, resets


def steps(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, most), min_size=1, max_size=40)


@given(st.data(), st.sampled_from([16, 32]), st.sampled_from([1, 10, 100]))
def test_a_register_that_wraps_loses_nothing(data: st.DataObject, bits: int, divide: int) -> None:
    """Fault 103: whatever is consumed between two readings (up to a tenth of the register), the sum is exact."""
    size = 2**bits
    grown = data.draw(steps(size // 20))
    begun = data.draw(st.integers(0, size - 1))
    register = [(begun + so_far) % size / divide for so_far in itertools.accumulate(grown, initial=0)]
    total, resets = consumption(register, size / divide)
    assert total == pytest.approx(sum(grown) / divide)
    assert resets == 0


@given(st.integers(0, 10**6), steps(5), steps(5), st.floats(0, 0.9))
def test_a_meter_that_begins_anew_is_neither_negative_nor_giant(
    begun: int, before: list[int], after: list[int], share: float
) -> None:
    """Fault 104: replaced or set to zero. What ran between the last and the second reading is not known; no more."""
    old = list(itertools.accumulate(before, initial=begun + 1))
    new = list(itertools.accumulate(after, initial=int(old[-1] * share)))
    total, resets = consumption([float(v) for v in (*old, *new)], None)
    assert sum(before) <= total <= sum(before) + sum(after)
    if len(new) > 1 and new[1] < old[-1]:
        assert resets == 1


def test_a_reset_that_looks_like_no_wrap_is_not_counted_as_one() -> None:
    assert consumption([30_000.0, 4.0, 5.0, 6.0], 65_536.0) == (1.0, 1)
