"""Where a number stands in a Modbus device, and how its bytes become a number and back. Pure.

On the wire a register is two bytes, high byte first, and coils are packed eight to a byte, lowest address in the
lowest bit (Modbus Application Protocol 1.1b3, 6.1 and 6.3). Numbers of several registers come in any order:

    word_order  byte_order   bytes of a 32-bit number
    high_first  high_first   A B C D   the usual one
    low_first   high_first   C D A B
    high_first  low_first    B A D C
    low_first   low_first    D C B A
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

Table = Literal["holding", "input", "coil", "discrete"]
Type = Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bit"]
Order = Literal["high_first", "low_first"]

_TYPES: dict[str, tuple[int, str]] = {
    "u16": (1, "H"), "s16": (1, "h"), "u32": (2, "I"), "s32": (2, "i"), "u64": (4, "Q"), "s64": (4, "q"),
    "f32": (2, "f"), "f64": (4, "d"), "bit": (1, "H"),
}  # fmt: skip
"""Type -> (registers, struct code)"""

BIT_TABLES = frozenset({"coil", "discrete"})

Decoder = Callable[[bytes], tuple[float | int, ...]]


@dataclass(frozen=True, slots=True)
class Point:
    """One number. ``address`` is the 0-based protocol address, as on the wire (manuals often print it plus one)."""

    table: Table
    address: int
    type: Type = "u16"
    """Of a coil or discrete input: always read as one bit, whatever stands here."""
    word_order: Order = "high_first"
    byte_order: Order = "high_first"
    bit: int | None = None
    """With ``type: bit`` in a register: which one, 0 is the lowest."""
    write_function: Literal[0x05, 0x06, 0x0F, 0x10] | None = None
    """How it is set: 0x05 one coil, 0x06 one register, 0x0F coils, 0x10 registers. Default: the shortest that fits."""
    pulse_address: int | None = None
    """A coil that the board can set for a given time: where it takes that command."""
    pulse_function: Literal[0x05, 0x06, 0x10] = 0x05
    """How the time is sent: 0x05 and 0x06 as the value, 0x10 as registers."""
    pulse_step_s: float = 0.1
    """The time is counted in steps of so many seconds."""
    pulse_mode: int | None = None
    """With pulse_function 0x10: the word that goes before the time, where the board wants one."""

    @property
    def width(self) -> int:
        """Registers, or coils, that this point takes."""
        return 1 if self.table in BIT_TABLES else _TYPES[self.type][0]

    @property
    def end(self) -> int:
        """The first address after this point."""
        return self.address + self.width


def fault(point: Point) -> str | None:
    """Return what is wrong with a point beyond its types, or None."""
    if point.address < 0 or point.end > 0x10000:
        return f"address {point.address} with {point.width} registers does not fit into 0..0xffff"
    if point.table in BIT_TABLES:
        if point.bit is not None:
            return f"a {point.table} is one bit already: leave out bit"
        if point.type not in ("bit", "u16"):
            return f"a {point.table} is one bit: leave out type {point.type}"
        return None
    if point.type == "bit" and (point.bit is None or not 0 <= point.bit <= 15):
        return "type bit in a register needs bit: 0 to 15 (0 is the lowest)"
    if point.type != "bit" and point.bit is not None:
        return f"bit belongs to type bit, not to {point.type}"
    if point.width == 1 and point.word_order == "low_first":
        return f"word_order has no meaning for the one register of {point.type}: leave it out"
    return None


def compile_block(points: Sequence[Point], start: int, count: int) -> Decoder:
    """Return the function that turns a reply's payload into one number per point, in the order of ``points``.

    ``payload`` holds ``count`` registers (2 bytes each) or coils (packed) from address ``start``. All points are of
    one table and inside the block. Floats come as the device sent them, NaN and infinity included.
    """
    assert all(start <= p.address and p.end <= start + count for p in points), "a point is outside its block"
    if points[0].table in BIT_TABLES:
        shifts = [p.address - start for p in points]

        def bits_of_coils(payload: bytes) -> tuple[float | int, ...]:
            packed = int.from_bytes(payload, "little")
            return tuple([packed >> shift & 1 for shift in shifts])

        return bits_of_coils

    numbers = _in_place(points, start, count) or _reordered(points, start)
    masks = [(i, p.bit) for i, p in enumerate(points) if p.bit is not None]
    if not masks:
        return numbers

    def numbers_and_bits(payload: bytes) -> tuple[float | int, ...]:
        values = list(numbers(payload))
        for index, bit in masks:
            values[index] = int(values[index]) >> bit & 1
        return tuple(values)

    return numbers_and_bits


def _in_place(points: Sequence[Point], start: int, count: int) -> Decoder | None:
    """One struct over the payload as it is; None when the points overlap, are unsorted, or not all ABCD."""
    layout, at = ">", start
    for point in points:
        if point.address < at or point.byte_order == "low_first" or point.word_order == "low_first":
            return None
        layout += f"{2 * (point.address - at)}x{_TYPES[point.type][1]}"
        at = point.end
    return struct.Struct(f"{layout}{2 * (start + count - at)}x").unpack


def _reordered(points: Sequence[Point], start: int) -> Decoder:
    """One struct over the bytes picked into the usual order: any mixture of orders and overlaps."""
    pick = itemgetter(*[2 * (p.address - start) + i for p in points for i in _byte_positions(p)])
    unpack = struct.Struct(">" + "".join(_TYPES[p.type][1] for p in points)).unpack

    def numbers(payload: bytes) -> tuple[float | int, ...]:
        return unpack(bytes(pick(payload)))

    return numbers


def _byte_positions(point: Point) -> list[int]:
    """Offsets of the point's bytes on the wire, most significant first."""
    words = range(point.width) if point.word_order == "high_first" else reversed(range(point.width))
    inside = (0, 1) if point.byte_order == "high_first" else (1, 0)
    return [2 * word + byte for word in words for byte in inside]


def decode_block(points: Sequence[Point], start: int, payload: bytes) -> tuple[float | int, ...]:
    """Return one number per point from a payload that begins at address ``start``; for one-off use."""
    count = len(payload) * 8 if points[0].table in BIT_TABLES else len(payload) // 2
    return compile_block(points, start, count)(payload)


def encode(point: Point, value: float) -> list[int]:
    """Return the registers that hold ``value`` (whole types round), or the one coil as 0 or 1.

    A bit of a register gives the register with only this bit, to be joined with its neighbours by ``|``.
    Raises ValueError when the number does not fit the type.
    """
    if point.table in BIT_TABLES:
        return [int(bool(value))]
    if point.type == "bit":
        assert point.bit is not None, "fault() asks for a bit"
        word = int(bool(value)) << point.bit
        return [word if point.byte_order == "high_first" else (word & 0xFF) << 8 | word >> 8]
    try:
        usual = struct.pack(">" + _TYPES[point.type][1], value if point.type in ("f32", "f64") else round(value))
    except (struct.error, OverflowError, ValueError):
        raise ValueError(f"{value!r} does not fit into {point.type} at {point.table} 0x{point.address:04x}") from None
    wire = bytearray(len(usual))
    for byte, position in zip(usual, _byte_positions(point), strict=True):
        wire[position] = byte
    return list(struct.unpack(f">{point.width}H", wire))


def pack_payload(table: Table, values: Sequence[int]) -> bytes:
    """Return registers or coils as the payload of a reply (what ``compile_block`` reads)."""
    if table in BIT_TABLES:
        packed = sum(bool(v) << i for i, v in enumerate(values))
        return packed.to_bytes((len(values) + 7) // 8, "little")
    return struct.pack(f">{len(values)}H", *values)
