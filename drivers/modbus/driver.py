"""Modbus RTU, Modbus TCP and RTU over TCP: reads coils (FC 01, 02) and registers (FC 03, 04) in planned blocks, and
sets single points (FC 05, 06, 0F, 10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

from drivers.api import Notes, Request, Value, WireCost, Withheld
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.modbus import points as codec
from drivers.modbus.conversation import Conversation
from drivers.modbus.frames import Exchange, rtu_read, rtu_reply, rtu_write, tcp_read, tcp_write
from drivers.modbus.learned import ILLEGAL
from drivers.modbus.plan import Block, Limits, Wall, plan
from drivers.modbus.planner import Planner
from drivers.modbus.points import BIT_TABLES, Point
from drivers.modbus.writes import command, write_fault
from drivers.transport.line import Line

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Limits", "Point",
    "check_address", "check_point", "check_write", "open_device", "read_example",
]  # fmt: skip

WIRES = frozenset({"serial", "tcp"})
FRAMINGS = frozenset({"modbus_tcp", "rtu"})

_BOARDS = (254, 255)
"""Reserved by the standard, and still the factory setting or the common address of widespread relay boards."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which device on the wire."""

    unit: int
    """1 to 247, and 254 and 255, to which some relay boards answer whatever they are set to (one such board on a line);
    over TCP all of 0 to 255, since many devices use the others for "this box itself"."""


@dataclass(frozen=True, slots=True)
class BlockRead(Request):
    """One block, ready to be sent."""

    read: Exchange
    decode: codec.Decoder
    take: Callable[[bytearray], bytes | None]
    """Finds the reply on an RTU wire; over TCP the transaction number is needed as well."""
    block: Block


@dataclass(frozen=True, slots=True)
class Question(Request):
    """A read that only shows whether the unit gives these addresses."""

    read: Exchange
    wall: Wall


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """Return what is wrong with this point beyond its types, or why no request can bring it, or None."""
    if (fault := codec.fault(point)) is not None:
        return f"{name}: {fault}"
    try:
        plan({name: point}, limits)
    except ValueError as why:
        return str(why)
    return None


def check_write(name: str, point: Point, limits: Limits, *, timed: bool, raws: Sequence[float] = (0, 1)) -> str | None:
    """As ``drivers.api.Driver.check_write``."""
    wrong = write_fault(point, timed=timed, raws=raws)
    return None if wrong is None else f"{name}: {wrong}"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``."""
    if wire == "tcp":
        return None if 0 <= address.unit <= 255 else f"unit {address.unit}: over TCP a unit is 0 to 255"
    if 1 <= address.unit <= 247 or address.unit in _BOARDS:
        return None
    return f"unit {address.unit}: on a serial line a unit is 1 to 247, or 254 or 255 for a relay board"


def read_example(points: Mapping[str, Point], raw: Any, limits: Limits | None = None) -> dict[str, Value]:
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
    """One unit on a line, described by its profile. Learns what the unit refuses: a ``LearningDevice``."""

    def __init__(
        self,
        line: Line,
        unit: int,
        points: Mapping[str, Point],
        limits: Limits,
        timeout_s: float,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._line = line
        self._unit = unit
        self._points = points
        self._numbered = line.framing == "modbus_tcp"
        self._conversation = Conversation(line, unit, points, limits.max_count, timeout_s)
        self._make_read = tcp_read if self._numbered else rtu_read
        self.planner = Planner(line, points, limits, now_s)

    @property
    def revision(self) -> int:
        """As ``drivers.api.LearningDevice.revision``."""
        return self.planner.revision

    def keep_notes(self, notes: Notes) -> None:
        """As ``drivers.api.LearningDevice.keep_notes``."""
        self.planner.keep_notes(notes)

    def rides(self, due: Sequence[str], soon: Sequence[str]) -> bool:
        """As ``drivers.api.LearningDevice.rides``."""
        return self.planner.rides(due, soon)

    def plan(self, names: Sequence[str]) -> Sequence[Request]:
        """As ``drivers.api.Device.plan``: the least time on the wire, then the fewest requests."""
        requests: list[Request] = []
        for block in self.planner.blocks(names):
            read = self._make_read(self._unit, block.table, block.start, block.count)
            members = [self._points[name] for name in block.names]
            decode = codec.compile_block(members, block.start, block.count)
            requests.append(BlockRead(block.names, read, decode, rtu_reply(read), block))
        if withheld := self.planner.withheld(names):
            where = ", ".join(dict.fromkeys(f"{w.table} 0x{w.start:04x}" for w in withheld.values()))
            requests.append(Withheld(tuple(withheld), f"unit {self._unit} refuses {where}: tried again now and then"))
        return requests

    def question(self) -> Request | None:
        """As ``drivers.api.LearningDevice.question``."""
        wall = self.planner.question()
        if wall is None:
            return None
        return Question((), self._make_read(self._unit, wall.table, wall.start, wall.end - wall.start), wall)

    async def ask(self, request: Request) -> tuple[Value, ...]:
        """As ``drivers.api.Device.ask``."""
        if isinstance(request, Question):
            await self._learn(request)
            return ()
        request = cast(BlockRead, request)
        try:
            payload = await self._conversation.read(request.read, request.take)
        except Refused as why:
            if why.code in ILLEGAL:
                self.planner.refused(request.block)
            raise
        self.planner.given(request.block, len(request.read.head) + request.read.payload_bytes + 2)
        return request.decode(payload)

    async def _learn(self, question: Question) -> None:
        try:
            await self._conversation.read(question.read, rtu_reply(question.read))
        except (NoAnswer, BadFrame, Refused) as why:
            if not isinstance(why, Refused) or why.code not in ILLEGAL:
                self.planner.answered(question.wall, None)
                raise
            self.planner.answered(question.wall, False)
        else:
            self.planner.answered(question.wall, True)

    async def write(self, point: str, raw: float, hold_s: float | None = None) -> None:
        """As ``drivers.api.Device.write``. The device confirms that it understood, not that the valve moved.

        An adapter that repeats what we send although the link does not say ``echo: true`` looks just like the
        confirmation of 05 and 06: only reading back tells.
        """
        make = tcp_write if self._numbered else rtu_write
        told = command(self._points[point], raw, hold_s)
        asked = make(self._unit, told)
        await self._conversation.write(asked, repeats_value=told.reply == told.request)

    def cost(self, request: Request) -> WireCost:
        """As ``drivers.api.Device.cost``: TCP counts the Modbus frame, not the IP packets around it."""
        if isinstance(request, Withheld):
            return WireCost(0, 0)
        read = cast(BlockRead, request).read
        around = 6 if self._numbered else 2
        return WireCost(len(read.frame), len(read.head) + read.payload_bytes + around)

    async def probe(self, request: Request) -> tuple[tuple[Value, ...], bytes, bytes]:
        """As ``drivers.api.Device.probe``."""
        values = await self.ask(request)
        # Nothing can run between the end of the exchange and here, so these are our frames.
        return values, *self._line.last_frames
