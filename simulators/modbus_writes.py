"""What a Modbus write request tells a device to hold. Pure, and written apart from the driver's frames."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.modbus.points import Point, Table, decode_block, pack_payload

WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS = 5, 6, 15, 16
WRITES = frozenset({WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS})

_ONE = struct.Struct(">BHH")
_SEVERAL = struct.Struct(">BHHB")
_COIL = {0xFF00: 1, 0x0000: 0}


@dataclass(frozen=True, slots=True)
class Write:
    """A request, taken apart."""

    function: int
    start: int
    words: tuple[int, ...]
    """Registers, or coils as 0 and 1; of function 5 the word as it came."""
    reply: bytes
    """The PDU that says that it was done."""


@dataclass(frozen=True, slots=True)
class Told:
    """One point was set."""

    name: str
    raw: float
    hold_s: float | None
    """For so long only: a timed pulse."""


def parse(request: bytes) -> Write:
    """Return what a request PDU with a function of ``WRITES`` asks for. Raises ValueError where a device answers 3."""
    function = request[0]
    if function in (WRITE_COIL, WRITE_REGISTER):
        if len(request) != _ONE.size:
            raise ValueError("a write of one has five bytes")
        _, address, word = _ONE.unpack(request)
        return Write(function, address, (word,), request)
    if len(request) < _SEVERAL.size or len(request) != _SEVERAL.size + request[5]:
        raise ValueError("the byte count is not the number of bytes")
    _, start, count, size = _SEVERAL.unpack_from(request)
    data, reply = request[_SEVERAL.size :], request[: _ONE.size]
    if function == WRITE_REGISTERS:
        if not 1 <= count <= 123 or size != 2 * count:
            raise ValueError("1 to 123 registers of two bytes")
        return Write(function, start, struct.unpack(f">{count}H", data), reply)
    if not 1 <= count <= 1968 or size != (count + 7) // 8:
        raise ValueError("1 to 1968 coils, eight to a byte")
    packed = int.from_bytes(data, "little")
    return Write(function, start, tuple(packed >> i & 1 for i in range(count)), reply)


def told_by(write: Write, points: Mapping[str, Point]) -> list[Told]:
    """Return what the writable ``points`` are set to; empty when the request reaches beyond them.

    Raises ValueError when the value is none that the board knows.
    """
    for name, point in points.items():
        if point.pulse_address == write.start and point.pulse_function == write.function:
            *mode, steps = write.words
            if mode != ([] if point.pulse_mode is None else [point.pulse_mode]) or steps == 0:
                raise ValueError("no timed command of this board")
            return [Told(name, 1, steps * point.pulse_step_s)]
    words = write.words
    if write.function == WRITE_COIL:
        if words[0] not in _COIL:
            raise ValueError("a coil is FF00 or 0000")
        words = (_COIL[words[0]],)
    table: Table = "coil" if write.function in (WRITE_COIL, WRITE_COILS) else "holding"
    end = write.start + len(words)
    inside = {n: p for n, p in points.items() if p.table == table and write.start <= p.address and p.end <= end}
    if sum(point.width for point in inside.values()) != len(words):
        return []
    payload = pack_payload(table, words)
    return [Told(name, decode_block([point], write.start, payload)[0], None) for name, point in inside.items()]
