"""How a coil or a register is set, and how the device confirms it. Pure.

    05  one coil: FF00 on, 0000 off          the reply repeats the request
    06  one register                         the reply repeats the request
    0F  several coils, packed as in a read   the reply names address and count
    10  several registers                    the reply names address and count

(Modbus Application Protocol 1.1b3, 6.5, 6.6, 6.11, 6.12.) A timed pulse is not in the standard: relay boards let a coil
be set for a time by a command of their own, which the profile describes. It is the board that counts the time.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.modbus.points import BIT_TABLES, Point, encode, pack_payload

ONE_COIL, ONE_REGISTER, COILS, REGISTERS = 0x05, 0x06, 0x0F, 0x10
_ON, _OFF = 0xFF00, 0x0000
_LONGEST_PULSE = 0x7FFF
"""Steps; a board might take more for a negative number."""


@dataclass(frozen=True, slots=True)
class Command:
    """One write without unit, framing and checksum."""

    what: str
    """For people: table, address and what is set."""
    request: bytes
    reply: bytes
    """What the device says when it has done exactly this, to the byte."""


def write_fault(point: Point, *, timed: bool, raws: Sequence[float]) -> str | None:
    """Return why this point cannot be set to each of ``raws`` (``timed``: to 1 for a given time), or None."""
    if point.table in ("input", "discrete"):
        return f"{point.table} addresses can only be read"
    if point.type == "bit" and point.table not in BIT_TABLES:
        return "one bit of a register cannot be set without touching its neighbours"
    if point.write_function not in _functions(point):
        names = " or ".join(f"0x{f:02X}" for f in _functions(point) if f is not None)
        return f"write_function 0x{point.write_function:02X} does not set this point: take {names}"
    if timed and (why := _pulse_fault(point)):
        return why
    for raw in raws:
        try:
            command(point, raw)
        except ValueError as why_not:
            return str(why_not)
    return None


def _functions(point: Point) -> tuple[int | None, ...]:
    if point.table in BIT_TABLES:
        return (None, ONE_COIL, COILS)
    return (None, ONE_REGISTER, REGISTERS) if point.width == 1 else (None, REGISTERS)


def _pulse_fault(point: Point) -> str | None:
    if point.table != "coil":
        return "only a coil can be set for a given time"
    if point.pulse_address is None:
        return "a pulse needs pulse_address: where the board takes its timed command, as in its manual"
    if not 0 <= point.pulse_address <= 0xFFFE:
        return f"pulse_address {point.pulse_address} does not fit into 0..0xfffe"
    if not 0.001 <= point.pulse_step_s <= 60:
        return f"pulse_step_s {point.pulse_step_s:g}: boards count in steps of 0.001 to 60 s"
    if point.pulse_mode is not None and (point.pulse_function != REGISTERS or not 0 <= point.pulse_mode <= 0xFFFF):
        return "pulse_mode is a word (0 to 0xffff) that pulse_function 0x10 writes before the time"
    return None


def command(point: Point, raw: float, hold_s: float | None = None) -> Command:
    """Return what sets the point to ``raw``, for ``hold_s`` only if that is given and ``raw`` is not rest (0).

    Rest is always written plainly: a timed "off" would switch on again. Raises ValueError for what cannot be set.
    """
    if point.table in BIT_TABLES and raw not in (0, 1):
        raise ValueError(f"{raw:g} at {point.table} 0x{point.address:04x}: it can be set to 0 or 1")
    if hold_s is not None and raw:
        return _pulse(point, hold_s)
    place = f"{point.table} 0x{point.address:04x}"
    if point.width > 1:
        place += f"..0x{point.end - 1:04x}"
    words = encode(point, raw)
    function = point.write_function or (
        ONE_COIL if point.table in BIT_TABLES else ONE_REGISTER if point.width == 1 else REGISTERS
    )
    what = f"{place} = {raw:g}"
    if function == ONE_COIL:
        return _one(what, ONE_COIL, point.address, _ON if words[0] else _OFF)
    if function == ONE_REGISTER:
        return _one(what, ONE_REGISTER, point.address, words[0])
    return _many(what, function, point.address, pack_payload(point.table, words), len(words))


def _pulse(point: Point, hold_s: float) -> Command:
    if (why := _pulse_fault(point)) is not None:
        raise ValueError(f"{point.table} 0x{point.address:04x}: {why}")
    assert point.pulse_address is not None, "_pulse_fault asks for it"
    steps = int(hold_s / point.pulse_step_s + 1e-6)  # down: it must not hold longer than was said
    if not 1 <= steps <= _LONGEST_PULSE:
        low_s, high_s = point.pulse_step_s, _LONGEST_PULSE * point.pulse_step_s
        raise ValueError(
            f"{point.table} 0x{point.address:04x}: a pulse of {hold_s:g} s, but it takes {low_s:g} to {high_s:g} s"
        )
    what = f"{point.table} 0x{point.address:04x} = 1 for {steps * point.pulse_step_s:g} s"
    if point.pulse_function != REGISTERS:
        return _one(what, point.pulse_function, point.pulse_address, steps)
    words = [steps] if point.pulse_mode is None else [point.pulse_mode, steps]
    return _many(what, REGISTERS, point.pulse_address, pack_payload("holding", words), len(words))


def _one(what: str, function: int, address: int, word: int) -> Command:
    request = struct.pack(">BHH", function, address, word)
    return Command(what, request, reply=request)


def _many(what: str, function: int, address: int, payload: bytes, count: int) -> Command:
    reply = struct.pack(">BHH", function, address, count)
    return Command(what, reply + bytes([len(payload)]) + payload, reply)
