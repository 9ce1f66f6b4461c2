"""Modbus RTU, Modbus TCP and RTU over TCP: reads coils (FC 01, 02) and registers (FC 03, 04) in planned blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from drivers.api import Request, Value, WireCost
from drivers.errors import BadFrame, NoAnswer
from drivers.modbus import points as codec
from drivers.modbus.frames import Read, rtu_read, rtu_reply, tcp_read, tcp_reply
from drivers.modbus.plan import Limits, plan
from drivers.modbus.points import BIT_TABLES, Point
from drivers.transport.line import Line

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Limits", "Point", "check_address", "check_point", "open_device", "read_example",
]  # fmt: skip

WIRES = frozenset({"serial", "tcp"})
FRAMINGS = frozenset({"modbus_tcp", "rtu"})

_numbers = itertools.count(1)
"""Shared by all devices, so that a late reply to one never fits the request to another on the same connection."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which device on the wire."""

    unit: int
    """1 to 247; over TCP also 0 and 248 to 255, which many devices use for "this box itself"."""


@dataclass(frozen=True, slots=True)
class BlockRead(Request):
    """One block, ready to be sent."""

    read: Read
    decode: codec.Decoder
    take: Callable[[bytearray], bytes | None]
    """Finds the reply on an RTU wire; over TCP the transaction number is needed as well."""


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """Return what is wrong with this point beyond its types, or why no request can bring it, or None."""
    if (fault := codec.fault(point)) is not None:
        return f"{name}: {fault}"
    try:
        plan({name: point}, limits)
    except ValueError as why:
        return str(why)
    return None


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``."""
    if wire == "tcp":
        return None if 0 <= address.unit <= 255 else f"unit {address.unit}: over TCP a unit is 0 to 255"
    return None if 1 <= address.unit <= 247 else f"unit {address.unit}: on a serial line a unit is 1 to 247"


def read_example(points: Mapping[str, Point], raw: Any) -> dict[str, Value]:
    """Decode ``{holding: {0x0010: [2305, …]}, coil: {0: [1]}}``: table, start address, registers or bits."""
    memory = _memory(raw)
    values: dict[str, Value] = {}
    for name, point in points.items():
        missing = [a for a in range(point.address, point.end) if (point.table, a) not in memory]
        if missing:
            raise ValueError(f"{name}: raw has no {point.table} 0x{missing[0]:04x}; add it to the example")
        content = [memory[point.table, a] for a in range(point.address, point.end)]
        values[name] = codec.decode_block([point], point.address, codec.pack_payload(point.table, content))[0]
    return values


def _memory(raw: Any) -> dict[tuple[str, int], int]:
    shape = "raw must look like {holding: {0x0010: [2305, 17]}, coil: {0: [1]}}"
    if not isinstance(raw, Mapping):
        raise ValueError(shape)
    memory: dict[tuple[str, int], int] = {}
    for table, blocks in raw.items():
        if table not in ("holding", "input", "coil", "discrete") or not isinstance(blocks, Mapping):
            raise ValueError(f"{shape}; there is no table {table!r} with addresses in it")
        highest = 1 if table in BIT_TABLES else 0xFFFF
        for start, content in blocks.items():
            if type(start) is not int or not isinstance(content, list):
                raise ValueError(f"{shape}; {table} {start!r} is not an address with a list")
            for address, word in enumerate(content, start):
                if type(word) is not int or not 0 <= word <= highest:
                    raise ValueError(f"{table} 0x{address:04x} is {word!r}: it holds 0 to {highest}")
                if memory.setdefault((table, address), word) != word:
                    raise ValueError(f"{table} 0x{address:04x} stands twice with different content")
    return memory


def open_device(
    line: Line, address: Address, points: Mapping[str, Point], limits: Limits, timeout_s: float
) -> ModbusDevice:
    """Return the device. Raises ValueError when a point cannot be read within ``limits``."""
    plan(points, limits)
    return ModbusDevice(line, address.unit, points, limits, timeout_s)


class ModbusDevice:
    """One unit on a line, described by its profile."""

    def __init__(self, line: Line, unit: int, points: Mapping[str, Point], limits: Limits, timeout_s: float) -> None:
        self._line = line
        self._unit = unit
        self._points = points
        self._limits = limits
        self._timeout_s = timeout_s
        self._numbered = line.framing == "modbus_tcp"

    def plan(self, names: Sequence[str]) -> Sequence[BlockRead]:
        """As ``drivers.api.Device.plan``: the fewest requests, then the fewest registers."""
        make = tcp_read if self._numbered else rtu_read
        requests = []
        for block in plan({name: self._points[name] for name in names}, self._limits):
            read = make(self._unit, block.table, block.start, block.count)
            members = [self._points[name] for name in block.names]
            decode = codec.compile_block(members, block.start, block.count)
            requests.append(BlockRead(block.names, read, decode, rtu_reply(read)))
        return requests

    async def ask(self, request: Request) -> tuple[Value, ...]:
        """As ``drivers.api.Device.ask``."""
        request = cast(BlockRead, request)
        return request.decode(await self._exchange(request))

    def cost(self, request: Request) -> WireCost:
        """As ``drivers.api.Device.cost``: TCP counts the Modbus frame, not the IP packets around it."""
        read = cast(BlockRead, request).read
        around = 6 if self._numbered else 2
        return WireCost(len(read.frame), len(read.head) + read.payload_bytes + around)

    async def probe(self, request: Request) -> tuple[tuple[Value, ...], bytes, bytes]:
        """As ``drivers.api.Device.probe``."""
        values = await self.ask(request)
        # Nothing can run between the end of the exchange and here, so these are our frames.
        return values, *self._line.last_frames

    async def _exchange(self, request: BlockRead) -> bytes:
        read = request.read
        try:
            if not self._numbered:
                # a reply names unit and function, but not the address it was asked for
                return await self._line.exchange(read.frame, request.take, self._timeout_s, like=read.head[:2])
            number = next(_numbers) & 0xFFFF
            frame = number.to_bytes(2, "big") + read.frame[2:]
            return await self._line.exchange(frame, partial(tcp_reply, read, number), self._timeout_s, matched=True)
        except (NoAnswer, BadFrame) as why:
            raise type(why)(f"{read.what}: {why}") from None
