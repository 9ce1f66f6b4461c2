"""Registers in every order: the profile's own is always among them, and plausible numbers are marked."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.orders import LETTERS, in_every_order, readings
from drivers.modbus.points import Point


def test_a_voltage_is_recognised_in_the_order_in_which_it_was_sent() -> None:
    # 230.5 as a float is 43 66 80 00
    for registers, letters in [
        ([0x4366, 0x8000], "ABCD"),
        ([0x8000, 0x4366], "CDAB"),
        ([0x6643, 0x0080], "BADC"),
        ([0x0080, 0x6643], "DCBA"),
    ]:
        (found,) = readings(registers)
        assert found["f32"][letters] == 230.5
        assert f"f32 {letters}" in found["plausible"]


def test_pairs_overlap_and_whole_numbers_of_one_register_say_nothing() -> None:
    found = readings([0, 7, 0])
    assert [entry["offset"] for entry in found] == [0, 1]
    assert found[0]["u32"]["ABCD"] == 7
    assert "s32 ABCD" not in found[0]["plausible"]
    assert readings([5]) == []


@given(st.sampled_from(sorted(LETTERS)), st.integers(-(2**31), 2**31 - 1))
def test_the_points_own_order_is_among_all_and_gives_the_number_back(order: tuple[str, str], number: int) -> None:
    word, byte = order
    point = Point("holding", 7, "s32", word_order=word, byte_order=byte)  # type: ignore[arg-type]
    found = in_every_order(point, number)
    assert set(found) == set(LETTERS)
    assert found[word, byte] == number  # type: ignore[index]


def test_bits_and_coils_have_no_order_and_one_register_has_two() -> None:
    assert in_every_order(Point("coil", 0), 1) == {}
    assert in_every_order(Point("holding", 0, "bit", bit=3), 1) == {}
    assert in_every_order(Point("holding", 0, "u16"), 0x0102) == {
        ("high_first", "high_first"): 0x0102,
        ("high_first", "low_first"): 0x0201,
    }


@given(st.lists(st.integers(0, 0xFFFF), max_size=8))
def test_no_registers_break_it_and_everything_is_json(registers: list[int]) -> None:
    for entry in readings(registers):
        assert all(v is None or math.isfinite(v) for kind in ("f32", "u32", "s32") for v in entry[kind].values())
