"""Points: bytes to numbers and back, checked against orders written out by hand and against single decoding."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.points import Point, compile_block, decode_block, encode, fault, pack_payload

ORDERS = st.sampled_from(["high_first", "low_first"])
RANGES = {
    "u16": (0, 0xFFFF),
    "s16": (-0x8000, 0x7FFF),
    "u32": (0, 0xFFFFFFFF),
    "s32": (-0x80000000, 0x7FFFFFFF),
    "u64": (0, 2**64 - 1),
    "s64": (-(2**63), 2**63 - 1),
}


@pytest.mark.parametrize(
    ("word_order", "byte_order", "wire"),
    [
        ("high_first", "high_first", "43 66 80 00"),
        ("low_first", "high_first", "80 00 43 66"),
        ("high_first", "low_first", "66 43 00 80"),
        ("low_first", "low_first", "00 80 66 43"),
    ],
)
def test_the_four_orders_of_230_5(word_order: str, byte_order: str, wire: str) -> None:
    point = Point("holding", 7, "f32", word_order, byte_order)  # type: ignore[arg-type]
    assert decode_block([point], 7, bytes.fromhex(wire)) == (230.5,)
    assert pack_payload("holding", encode(point, 230.5)) == bytes.fromhex(wire)


def test_a_signed_number_with_the_low_word_first() -> None:
    """Carlo Gavazzi EM24: -5000 is 0xffffec78."""
    point = Point("input", 0, "s32", word_order="low_first")
    assert decode_block([point], 0, bytes.fromhex("ec78 ffff")) == (-5000,)


def test_sixty_four_bits_and_doubles() -> None:
    assert decode_block([Point("holding", 0, "s64")], 0, (1234567890123).to_bytes(8, "big")) == (1234567890123,)
    assert decode_block([Point("holding", 0, "f64", "low_first", "low_first")], 0, struct.pack("<d", 0.1)) == (0.1,)


def test_gaps_are_stepped_over_and_whole_numbers_stay_whole() -> None:
    points = [Point("holding", 12, "u16"), Point("holding", 15, "s16"), Point("holding", 17, "u32")]
    values = decode_block(points, 10, bytes.fromhex("aaaa aaaa 0901 aaaa aaaa fff6 aaaa 0001 0000 aaaa"))
    assert values == (2305, -10, 65536)
    assert all(type(value) is int for value in values)


def test_bits_of_one_register_and_their_neighbour() -> None:
    points = [
        Point("holding", 0, "u16"),
        Point("holding", 0, "bit", bit=0),
        Point("holding", 0, "bit", bit=15),
        Point("holding", 0, "bit", byte_order="low_first", bit=15),
        Point("holding", 1, "f32"),
    ]
    assert decode_block(points, 0, bytes.fromhex("8002 4366 8000")) == (0x8002, 0, 1, 0, 230.5)


def test_coils_are_packed_lowest_first() -> None:
    """Modbus Application Protocol 1.1b3, 6.1: coils 20-38 read as CD 6B 05."""
    points = [Point("coil", a) for a in range(19, 38)]
    bits = decode_block(points, 19, bytes.fromhex("cd 6b 05"))
    assert "".join(map(str, bits)) == "1011001111010110101"
    assert decode_block([Point("coil", 22), Point("coil", 19)], 19, bytes.fromhex("cd 6b 05")) == (1, 1)


def test_numbers_that_are_none_come_as_they_are() -> None:
    nan, infinite = decode_block([Point("input", 0, "f32"), Point("input", 2, "f32")], 0, b"\x7f\xc0\0\0\x7f\x80\0\0")
    assert math.isnan(nan)
    assert infinite == math.inf


@st.composite
def points_and_values(draw: st.DrawFn) -> list[tuple[Point, float]]:
    """Points in any order and layout, side by side with gaps, each with a value that its type can hold."""
    made: list[tuple[Point, float]] = []
    at = draw(st.integers(0, 1000))
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from([*RANGES, "f32", "f64"]))
        wide = kind not in ("u16", "s16")
        point = Point("holding", at, kind, draw(ORDERS) if wide else "high_first", draw(ORDERS))  # type: ignore[arg-type]
        value: float
        if kind in RANGES:
            value = draw(st.integers(*RANGES[kind]))
        else:
            value = draw(st.floats(width=32 if kind == "f32" else 64, allow_nan=False))
        made.append((point, value))
        at = point.end + draw(st.integers(0, 5))
    return draw(st.permutations(made))


@given(points_and_values(), st.integers(0, 3))
def test_what_is_encoded_is_decoded(layout: list[tuple[Point, float]], margin: int) -> None:
    points = [point for point, _ in layout]
    start = max(0, min(p.address for p in points) - margin)
    memory = [0xAAAA] * (max(p.end for p in points) + margin - start)
    for point, value in layout:
        assert fault(point) is None
        memory[point.address - start : point.end - start] = encode(point, value)
    payload = pack_payload("holding", memory)
    assert compile_block(points, start, len(memory))(payload) == tuple(value for _, value in layout)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=70), st.data())
def test_coils_survive_packing(bits: list[int], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(bits) - 1), min_size=1))
    points = [Point("discrete", 100 + i) for i in wanted]
    payload = pack_payload("discrete", [encode(Point("discrete", 0), bit)[0] for bit in bits])
    assert decode_block(points, 100, payload) == tuple(bits[i] for i in wanted)


@given(st.integers(0, 0xFFFF), st.integers(0, 15), ORDERS)
def test_bits_join_into_their_register(word: int, bit: int, order: str) -> None:
    points = [Point("holding", 0, "bit", byte_order=order, bit=i) for i in range(16)]  # type: ignore[arg-type]
    joined = 0
    for i, point in enumerate(points):
        joined |= encode(point, word >> i & 1)[0]
    assert decode_block(points, 0, joined.to_bytes(2, "big"))[bit] == word >> bit & 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [("u16", -1), ("u16", 65536), ("s32", 2**31), ("u64", -1), ("f32", 1e39), ("u16", math.nan), ("s16", math.inf)],
)
def test_a_number_that_does_not_fit_is_named(kind: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"does not fit into {kind} at input 0x0010"):
        encode(Point("input", 16, kind), value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (Point("holding", 0xFFFF, "u32"), "does not fit into 0..0xffff"),
        (Point("holding", -1), "does not fit into 0..0xffff"),
        (Point("coil", 0, "f32"), "leave out type f32"),
        (Point("coil", 0, "bit", bit=3), "leave out bit"),
        (Point("holding", 0, "bit"), "needs bit: 0 to 15"),
        (Point("holding", 0, "bit", bit=16), "needs bit: 0 to 15"),
        (Point("holding", 0, "u32", bit=1), "bit belongs to type bit"),
        (Point("holding", 0, "u16", "low_first"), "word_order has no meaning"),
    ],
)
def test_points_that_make_no_sense_are_told(point: Point, words: str) -> None:
    assert words in (fault(point) or "")
