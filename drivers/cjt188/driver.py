"""CJ/T 188 water, heat and gas meters on a serial line or behind a serial server: one request brings all values.

The identifier goes over the wire in one of two orders, and a meter understands only its own. Until a meter has
answered for the first time the other order is tried as well: at the first reading at once, later by turns.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from drivers.api import Request, Value, WireCost
from drivers.cjt188 import codec
from drivers.cjt188.codec import CURRENT_DATA, Frame, Order
from drivers.cjt188.metering import METER_TYPES, Limits, MeterType, Point, decode, size_of
from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.transport.line import Line

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Limits", "Point", "check_address", "check_point", "check_write", "open_device",
    "read_example",
]  # fmt: skip

WIRES = frozenset({"serial", "tcp"})
FRAMINGS = frozenset({"rtu"})

_READ_ONLY = "CJ/T 188 meters are only read; their valves are left alone"


@dataclass(frozen=True, slots=True)
class Address:
    """Which meter on the line."""

    meter: str
    """The number printed on the meter, up to 14 digits, the manufacturer's four first; shorter ones are filled with
    zeros. In YAML always quoted.

    AAAAAAAAAAAAAA means whichever meter answers: only for a line with a single meter.
    """
    type: MeterType | Literal["any"] | None = None
    """Where it is not the profile's: hot_water, reclaimed_water, …"""

    def __post_init__(self) -> None:
        if not isinstance(self.meter, str):
            raise ValueError(f'the meter number {self.meter} must be text: quote it, meter: "{self.meter!s:0>14}"')
        meter = self.meter.upper().zfill(14)
        if not self.meter or len(meter) != 14 or not set(meter) <= set(string.hexdigits):
            raise ValueError(f'meter number "{self.meter}" is not up to 14 digits')
        object.__setattr__(self, "meter", meter)


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """Return which fields such a meter has when this is none of them, or None."""
    fields = [field.name for field in limits.fields]
    if point.field in (*fields, "valve", "battery_low"):
        return None
    return f"{name}: a {limits.meter_type} meter has no {point.field}; it has {', '.join(fields)}, valve, battery_low"


def check_write(name: str, point: Point, limits: Limits, *, timed: bool, raws: Sequence[float] = (0, 1)) -> str | None:
    """As ``drivers.api.Driver.check_write``: nothing is ever written."""
    return f"{name}: {_READ_ONLY}"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``: a meter's number is good anywhere."""
    return None


def read_example(points: Mapping[str, Point], raw: Any, limits: Limits | None = None) -> dict[str, Value]:
    """Decode ``{data: "34 12 …", meter_type: heat}``: the bytes after identifier and SER, and limits that matter."""
    if not isinstance(raw, Mapping) or "data" not in raw:
        raise ValueError('raw must give the bytes after SER and the type, as in {data: "00 77 …", meter_type: gas}')
    limits = _example_limits({key: value for key, value in raw.items() if key != "data"})
    try:
        data = bytes.fromhex(raw["data"])
    except (TypeError, ValueError):
        raise ValueError(f'raw: data: "{raw["data"]}" is not hexadecimal bytes in quotes') from None
    metering = decode(limits.fields, data, limits)
    if metering is None:
        raise ValueError(f"raw: data: {len(data)} bytes; a {limits.meter_type} meter sends {size_of(limits.fields)}")
    for name, point in points.items():
        if fault := check_point(name, point, limits):
            raise ValueError(f"raw: {fault}")
    return {name: metering.value(point.field) for name, point in points.items()}


def _example_limits(given: Mapping[str, Any]) -> Limits:
    hints = get_type_hints(Limits)
    for key, value in given.items():
        if key not in hints or value not in (get_args(hints[key]) or (value,)):
            raise ValueError(f"raw: {key}: {value} is none of the limits of a CJ/T 188 profile")
    return Limits(**given)


def open_device(
    line: Line, address: Address, points: Mapping[str, Point], limits: Limits, timeout_s: float
) -> Cjt188Device:
    """Return the meter. Does no I/O."""
    return Cjt188Device(line, address, points, limits, timeout_s)


class Cjt188Device:
    """One meter; fulfils ``drivers.api.Device``."""

    def __init__(
        self, line: Line, address: Address, points: Mapping[str, Point], limits: Limits, timeout_s: float
    ) -> None:
        self._line = line
        self._meter = address.meter
        self._type = _type_on_the_wire(address, limits)
        self._points = points
        self._limits = limits
        self._fields = limits.fields
        self._timeout_s = timeout_s
        self._ser = 0
        self._order: Order = limits.di_order
        self._order_is_sure = False
        self._asked = False

    def plan(self, names: Sequence[str]) -> list[Request]:
        """One request for everything."""
        return [Request(tuple(names))] if names else []

    async def ask(self, request: Request) -> tuple[Value, ...]:
        """Read the current data; volumes are in m³, heat in kWh, power in kW, flow in m³/h, temperatures in °C."""
        reply = await self._read()
        metering = decode(self._fields, reply.data[3:], self._limits)
        if metering is None:
            raise BadFrame(
                f"meter {reply.address}: {len(reply.data) - 3} data bytes do not fit the layout of a "
                f"{self._limits.meter_type} meter, which has {size_of(self._fields)}"
            )
        asked = [self._points[name].field for name in request.points]
        if metering.unknown_units and metering.unknown_units.keys() >= set(asked):
            codes = ", ".join(f"{name} 0x{code:02X}" for name, code in metering.unknown_units.items())
            raise BadFrame(f"meter {reply.address}: unknown unit codes ({codes}): see unit_position and units")
        return tuple([metering.value(field) for field in asked])

    async def probe(self, request: Request) -> tuple[tuple[Value, ...], bytes, bytes]:
        """As ``drivers.api.Device.probe``; the frames of the last exchange."""
        values = await self.ask(request)
        return values, *self._line.last_frames

    def cost(self, request: Request) -> WireCost:
        """As ``drivers.api.Device.cost``."""
        frame = self._limits.preamble + codec.FRAMING.frame_size + 3
        return WireCost(frame, frame + size_of(self._fields))

    async def write(self, point: str, raw: float, hold_s: float | None = None) -> None:
        """Refused always, as ``check_write`` says."""
        raise ValueError(f"{point}: {_READ_ONLY}")

    async def _read(self) -> Frame:
        """Ask in the order that the meter understands, as far as that is known."""
        first_time, self._asked = not self._asked, True
        try:
            return await self._read_once()
        except (NoAnswer, Refused):
            if not first_time:
                raise
        return await self._read_once()

    async def _read_once(self) -> Frame:
        try:
            reply = await self._exchange()
        except (NoAnswer, Refused):
            if not self._order_is_sure:
                self._order = "high_first" if self._order == "low_first" else "low_first"
            raise
        self._order_is_sure = True
        return reply

    async def _exchange(self) -> Frame:
        """One request, one reply that matches it in type, address, function, identifier and SER."""
        ser = self._ser = (self._ser + 1) & 0xFF
        request = codec.read_request(self._type, self._meter, CURRENT_DATA, ser, self._order)

        def take(buffer: bytearray) -> Frame | None:
            while True:
                frame, _ = codec.take_frame(buffer)
                if frame is None or self._answers(frame, ser):
                    return frame

        try:
            reply = await self._line.exchange(codec.encode(request, self._limits.preamble), take, self._timeout_s)
        except (NoAnswer, BadFrame) as why:
            raise type(why)(f"meter {self._meter}: {why}") from why
        if reply.error:
            status = reply.data[1:]
            raise Refused(
                f"meter {reply.address} refuses {CURRENT_DATA} (status {status.hex(' ').upper() or 'missing'})",
                int.from_bytes(status, "big"),
            )
        return reply

    def _answers(self, frame: Frame, ser: int) -> bool:
        if not frame.from_meter or frame.function != codec.READ or not codec.matches(self._meter, frame.address):
            return False
        if self._type not in (codec.ANY_TYPE, frame.meter_type):
            return False
        if frame.error:
            return frame.data[:1] == bytes((ser,))
        return len(frame.data) >= 3 and frame.data[2] == ser and codec.di_text(frame.data[:2])[0] == CURRENT_DATA


def _type_on_the_wire(address: Address, limits: Limits) -> int:
    """T of the requests: a meter asked by the wildcard is asked whatever its type."""
    wanted = address.type or ("any" if address.meter == codec.WILDCARD else limits.meter_type)
    return codec.ANY_TYPE if wanted == "any" else METER_TYPES[wanted]
