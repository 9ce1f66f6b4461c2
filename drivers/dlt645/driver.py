"""DL/T 645 meters (2007, 1997) on a serial line or behind a serial server: reads data items, one per request.

The identifier tells the edition: 8 digits 2007, 4 digits 1997. A meter that refuses a block (xxFFxx) may still answer
the single items: after the first refusal the block is asked for piece by piece, remembered per device. When more
follows the master asks for the rest: 12 and a sequence number after B1, 02 after A1 in the edition of 1997.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.api import Request, Value, WireCost
from drivers.dlt645 import codec
from drivers.dlt645.codec import Frame
from drivers.dlt645.items import FieldValue, Item, find_item
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.transport.line import Line

WIRES = frozenset({"serial", "tcp"})
FRAMINGS = frozenset({"rtu"})

_READ_ONLY = "DL/T 645 meters are only ever read"
_PREAMBLE = 4  # sent; replies carry 0 to 4
_MAX_FOLLOW_UPS = 16
_COMMON_TARIFFS = 4  # for cost only: sharp, peak, flat, valley


@dataclass(frozen=True, slots=True)
class Point:
    """Where a value is found in the meter."""

    item: str
    """Data identifier as printed, high byte first: "0201FF00" (2007), "9010" (1997). In YAML always quoted."""
    index: int = 0
    """Which field of the item, from 0: in the voltage block 0, 1, 2 are L1, L2, L3."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the meter tolerates."""

    blocks: bool = True
    """False: never ask for blocks (FF identifiers), always for the single items."""


@dataclass(frozen=True, slots=True)
class Address:
    """Which meter on the line."""

    meter: str
    """The number printed on the meter, up to 12 digits; shorter ones are filled with zeros. In YAML always quoted.

    AAAAAAAAAAAA means whichever meter answers: only for a line with a single meter.
    """

    def __post_init__(self) -> None:
        if not isinstance(self.meter, str):
            raise ValueError(f'the meter number {self.meter} must be text: quote it, meter: "{self.meter!s:0>12}"')
        meter = self.meter.upper().zfill(12)
        if not self.meter or len(meter) != 12 or not set(meter) <= set(string.hexdigits):
            raise ValueError(f'meter number "{self.meter}" is not up to 12 digits')
        if meter == codec.BROADCAST:
            raise ValueError(f"meter number {meter} is the broadcast address: nobody answers it")
        object.__setattr__(self, "meter", meter)


@dataclass(frozen=True, slots=True)
class ItemRequest(Request):
    """One data item, and which of its fields are wanted."""

    item: Item
    indexes: tuple[int, ...]


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """Return what is wrong with this point beyond its types, or None."""
    if len(point.item) not in (8, 4) or not set(point.item) <= set(string.hexdigits):
        return (
            f'{name}: item "{point.item}" is not a data identifier of 8 hexadecimal digits such as "0201FF00", '
            'or of 4 in the edition of 1997 ("9010")'
        )
    item = find_item(point.item.upper())
    if item is None:
        return f"{name}: item {point.item} is not in the table of known data items (drivers/dlt645/items.py)"
    if not 0 <= point.index < len(item.fields):
        return f"{name}: item {point.item} has fields 0 to {len(item.fields) - 1}, there is no index {point.index}"
    if item.fields[point.index].kind not in ("number", "bits"):
        return f"{name}: {item.fields[point.index].name} of item {point.item} is text, not a number"
    return None


def check_write(name: str, point: Point, limits: Limits, *, timed: bool, raws: Sequence[float] = (0, 1)) -> str | None:
    """As ``drivers.api.Driver.check_write``: writing to a meter needs its password and belongs to its owner."""
    return f"{name}: {_READ_ONLY}"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``: a meter's number is good anywhere."""
    return None


def read_example(points: Mapping[str, Point], raw: Any, limits: Limits | None = None) -> dict[str, Value]:
    """Decode ``{"0201FF00": "01 23 98 22 10 23"}``: data bytes per item, 33H removed, without the identifier."""
    if not isinstance(raw, Mapping):
        raise ValueError('raw must map items to data bytes, as in "0201FF00": "01 23 98 22 10 23"')
    data: dict[str, bytes] = {}
    for key, text in raw.items():
        try:
            data[str(key).upper()] = bytes.fromhex(text)
        except (TypeError, ValueError):
            raise ValueError(f'raw: item {key}: "{text}" is not hexadecimal bytes in quotes') from None
    values: dict[str, Value] = {}
    for name, point in points.items():
        item = _item(point)
        if item.di not in data:
            raise ValueError(f"raw: item {item.di} of point {name} is missing")
        decoded = item.decode(data[item.di])
        if decoded is None:
            raise ValueError(f"raw: item {item.di}: {len(data[item.di])} bytes do not fit its fields")
        values[name] = _pick(decoded, point.index)
    return values


def open_device(
    line: Line, address: Address, points: Mapping[str, Point], limits: Limits, timeout_s: float
) -> Dlt645Device:
    """Return the meter. Does no I/O."""
    return Dlt645Device(line, address.meter, points, limits, timeout_s)


class Dlt645Device:
    """One meter; fulfils ``drivers.api.Device``."""

    def __init__(self, line: Line, meter: str, points: Mapping[str, Point], limits: Limits, timeout_s: float) -> None:
        self._line = line
        self._meter = meter
        self._points = points
        self._limits = limits
        self._timeout_s = timeout_s
        self._refused_blocks: set[str] = set()

    def plan(self, names: Sequence[str]) -> list[ItemRequest]:
        """One request per data item, in the order in which the items first appear."""
        wanted: dict[str, list[tuple[str, int]]] = {}
        for name in names:
            item, index = _item(self._points[name]), self._points[name].index
            di = item.di
            if item.singles and not self._limits.blocks:
                di, index = item.single(index)
            wanted.setdefault(di, []).append((name, index))
        return [
            ItemRequest(tuple(name for name, _ in fields), _known(di), tuple(index for _, index in fields))
            for di, fields in wanted.items()
        ]

    async def ask(self, request: Request) -> tuple[Value, ...]:
        """Read one item; the unit is the item's (kWh, V, A, kW)."""
        return await self._ask(request, [])

    async def write(self, point: str, raw: float, hold_s: float | None = None) -> None:
        """As ``drivers.api.Device.write``: always ValueError."""
        raise ValueError(f"{point}: {_READ_ONLY}")

    async def probe(self, request: Request) -> tuple[tuple[Value, ...], bytes, bytes]:
        """Like ``ask``; the frames of all exchanges that it took, requests and replies each in a row."""
        frames: list[Frame] = []
        values = await self._ask(request, frames)
        sent = b"".join(codec.encode(f, _PREAMBLE) for f in frames if not f.from_meter)
        received = b"".join(codec.encode(f, 0) for f in frames if f.from_meter)
        return values, sent, received

    def cost(self, request: Request) -> WireCost:
        """Bytes on the wire; energy blocks are counted with four tariffs unless more are asked for."""
        assert isinstance(request, ItemRequest)
        item = request.item
        count = len(item.fields)
        if item.singles and count > 2 * _COMMON_TARIFFS:
            per_single = count // len(item.singles)
            count = max(max(request.indexes) + 1, per_single * (1 + _COMMON_TARIFFS))
        data = sum(field.size for field in item.fields[:count])
        frame = codec.FRAMING.frame_size + len(item.di) // 2 + _PREAMBLE
        return WireCost(frame, frame + data)

    async def _ask(self, request: Request, trace: list[Frame]) -> tuple[Value, ...]:
        assert isinstance(request, ItemRequest)
        if request.item.di not in self._refused_blocks:
            try:
                decoded = await self._read(request.item, trace)
            except Refused:
                if not request.item.singles:
                    raise
                self._refused_blocks.add(request.item.di)
            else:
                return tuple([_pick(decoded, index) for index in request.indexes])
        return await self._ask_singles(request, trace)

    async def _ask_singles(self, request: ItemRequest, trace: list[Frame]) -> tuple[Value, ...]:
        """The block was refused: read its pieces. A piece that is refused too has no value."""
        values: list[Value] = []
        known: dict[str, tuple[FieldValue, ...]] = {}
        refusal: Refused | None = None
        for index in request.indexes:
            di, single_index = request.item.single(index)
            if di not in known:
                try:
                    known[di] = await self._read(_known(di), trace)
                except Refused as why:
                    refusal, known[di] = why, ()
            values.append(_pick(known[di], single_index))
        if refusal is not None and not any(known.values()):
            raise refusal
        return tuple(values)

    async def _read(self, item: Item, trace: list[Frame]) -> tuple[FieldValue, ...]:
        """Read one item with whatever follows."""
        di = codec.di_bytes(item.di)
        reply = await self._exchange(codec.read_request(self._meter, item.di), di, trace)
        data = reply.data[len(di) :]
        seq = 0
        while reply.more_follows:
            seq += 1
            if seq > _MAX_FOLLOW_UPS:
                raise BadFrame(f"meter {self._meter}: item {item.di} goes on after {_MAX_FOLLOW_UPS} follow-ups")
            request = codec.following_request(self._meter, item.di, seq)
            reply = await self._exchange(request, di, trace, None if codec.is_1997(item.di) else seq)
            data += reply.data[len(di) :] if codec.is_1997(item.di) else reply.data[len(di) : -1]
        values = item.decode(data)
        if values is None:
            raise BadFrame(f"meter {self._meter}: item {item.di}: {len(data)} data bytes do not fit its fields")
        return values

    async def _exchange(self, request: Frame, di: bytes, trace: list[Frame], seq: int | None = None) -> Frame:
        """One request, one reply that matches it in address, function, identifier and, if given, sequence number."""

        def take(buffer: bytearray) -> Frame | None:
            while True:
                frame, _ = codec.take_frame(buffer)
                if frame is None or self._answers(frame, request.function, di, seq):
                    return frame

        trace.append(request)
        wire = codec.encode(request, _PREAMBLE)
        like = wire if request.function == codec.READ_FOLLOWING_1997 else None  # its parts are not numbered
        try:
            reply = await self._line.exchange(wire, take, self._timeout_s, like=like)
        except NoAnswer as why:
            raise NoAnswer(f"meter {self._meter}: item {codec.di_text(di)}: {why}") from why
        except BadFrame as why:
            raise BadFrame(f"meter {self._meter}: item {codec.di_text(di)}: {why}") from why
        trace.append(reply)
        if reply.error:
            raise self._refusal(reply, codec.di_text(di))
        return reply

    def _answers(self, frame: Frame, function: int, di: bytes, seq: int | None) -> bool:
        if not frame.from_meter or frame.function != function or not codec.matches(self._meter, frame.address):
            return False
        if frame.error:
            return True
        if not frame.data.startswith(di):
            return False
        return seq is None or (len(frame.data) > len(di) and frame.data[-1] == seq)

    def _refusal(self, reply: Frame, di: str) -> Refused:
        code = reply.data[0] if reply.data else 0
        bits = [] if codec.is_1997(di) else codec.error_names(code)  # those of 1997 are not known well enough
        names = ", ".join(bits).replace("_", " ") or "no reason given"
        return Refused(f"meter {reply.address} refuses item {di}: {names} (error byte 0x{code:02X})", code)


def _known(di: str) -> Item:
    item = find_item(di)
    if item is None:
        raise ValueError(f"item {di} is not in the table of known data items")
    return item


def _item(point: Point) -> Item:
    return _known(point.item.upper())


def _pick(values: tuple[FieldValue, ...], index: int) -> Value:
    """The field, or None when the meter sends a shorter block than the profile expects."""
    value = values[index] if index < len(values) else None
    return None if isinstance(value, str) else value
