"""What a meter answers to 901F, current metering data, and in which variants it does. Pure.

    water, gas  volume 4+1, volume at settlement 4+1, clock 7, status 2
    heat        heat at settlement 4+1, heat 4+1, power 4+1, flow 4+1, volume 4+1, supply 3, return 3, hours 3,
                clock 7, status 2

4+1: packed BCD, low byte first, and a unit code. Confidence: water confirmed; the order of the heat fields confirmed by
one meter, the decimals of flow from memory; unit codes 05, 08, 17, 2C and 35 confirmed, the others reported. The reply
to 911F (heat and cooling in one meter, 2018) is not read: no source tells the order of its fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from drivers.cjt188.codec import Order
from drivers.meters.bcd import digits_of, from_digits

MeterType = Literal["cold_water", "hot_water", "drinking_water", "reclaimed_water", "heat", "cooling", "gas"]
METER_TYPES: dict[MeterType, int] = {
    "cold_water": 0x10,
    "hot_water": 0x11,
    "drinking_water": 0x12,
    "reclaimed_water": 0x13,
    "heat": 0x20,
    "cooling": 0x21,
    "gas": 0x30,
}
"""Types whose answer is known, and T on the wire."""

FieldName = Literal[
    "volume_total", "volume_settlement", "heat_settlement", "heat_total", "thermal_power", "flow",
    "supply_temperature", "return_temperature", "working_hours", "valve", "battery_low",
]  # fmt: skip
Units = Literal["standard", "joymeter"]
Value = float | int | None

_CLOCK_SIZE, _STATUS_SIZE = 7, 2
_ENERGY = {
    0x01: (1, 3_600_000), 0x0B: (1, 3600), 0x0E: (5, 18), 0x11: (2500, 9), 0x12: (25_000, 9), 0x13: (250_000, 9),
    0x02: (1, 1000), 0x03: (1, 100), 0x04: (1, 10), 0x05: (1, 1), 0x06: (10, 1), 0x07: (100, 1),
    0x08: (1000, 1), 0x09: (10_000, 1), 0x0A: (100_000, 1),
}  # fmt: skip
_POWER = {
    0x14: (1, 1000), 0x15: (1, 100), 0x16: (1, 10), 0x17: (1, 1), 0x18: (10, 1), 0x19: (100, 1), 0x1A: (1000, 1),
    0x40: (1, 3_600_000), 0x43: (1, 3600), 0x46: (5, 18), 0x49: (2500, 9),
}  # fmt: skip
_VOLUME = {0x29: (1, 1000), 0x2A: (1, 100), 0x2B: (1, 10), 0x2C: (1, 1), 0x2D: (10, 1), 0x2E: (100, 1)}
_STANDARD = {"kWh": _ENERGY, "kW": _POWER, "m3": _VOLUME, "m3/h": {0x32: (1, 1000), 0x35: (1, 1)}}
UNIT_CODES: dict[Units, dict[str, dict[int, tuple[int, int]]]] = {
    "standard": _STANDARD,
    "joymeter": _STANDARD | {"m3": {0x2C: (1, 100), 0x2D: (1, 10), 0x2E: (1, 1)}},
}
"""Table -> our unit -> code -> how many of our unit one of the meter's is, as a fraction (GJ: 2500/9 kWh)."""

VALVES = ("open", "closed", "reserved", "abnormal")
"""By the two valve bits of the status. Joymeter calls the third one "moving" (reported)."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a value is found in the meter's answer."""

    field: FieldName


@dataclass(frozen=True, slots=True)
class Limits:
    """Which variant of the standard the meter speaks."""

    meter_type: MeterType = "cold_water"
    """Says how the answer is laid out, and is T on the wire unless the device's address says otherwise."""
    di_order: Order = "low_first"
    """``low_first``: 1F 90 · ``high_first``: 90 1F. The other one is tried too until the meter has answered once."""
    unit_position: Literal["after", "before"] = "after"
    """Where the unit code stands beside its number (``before``: seen in one JY heat meter)."""
    units: Units = "standard"
    """``joymeter``: 2C is 10 L, 2D 100 L and 2E m³, as that maker documents."""
    status_bits: Order = "low_first"
    """``high_first``: valve and battery are counted from D7 (reported by one header file)."""
    preamble: int = 4
    """Bytes FE before each request."""

    def __post_init__(self) -> None:
        if not 0 <= self.preamble <= 64:
            raise ValueError(f"preamble is {self.preamble}: 0 to 64 bytes FE go before a request, usually 2 to 4")

    @property
    def fields(self) -> tuple[Field, ...]:
        """How the meter's answer is laid out."""
        fields = fields_of(METER_TYPES[self.meter_type])
        assert fields is not None, "METER_TYPES holds only types whose answer is known"
        return fields


@dataclass(frozen=True, slots=True)
class Field:
    """One number of the answer."""

    name: FieldName
    unit: str
    size: int = 4
    """Bytes of BCD, without the unit code."""
    decimals: int = 2
    coded: bool = True
    """A unit code stands beside it."""

    def decode(self, data: bytes, limits: Limits) -> tuple[Value, int | None]:
        """Return the number in our unit, and its unit code where that is unknown. A number without unit is none."""
        times, of = 1, 1
        if self.coded:
            code, data = (data[0], data[1:]) if limits.unit_position == "before" else (data[-1], data[:-1])
            known = UNIT_CODES[limits.units][self.unit].get(code)
            if known is None:
                return None, code
            times, of = known
        digits = digits_of(data)
        if digits is None:
            return None, None
        number = int(digits) * times
        return number / (of * 10**self.decimals) if self.decimals else number, None

    def encode(self, value: float | None, limits: Limits) -> bytes:
        """Inverse of ``decode``, in our own unit; None and what does not fit becomes FF."""
        try:
            number = None if value is None else from_digits(str(round(value * 10**self.decimals)), self.size)
        except ValueError:
            number = None
        data = b"\xff" * self.size if number is None else number
        if not self.coded:
            return data
        codes = UNIT_CODES[limits.units][self.unit]
        code = bytes((next(code for code, size in codes.items() if size == (1, 1)),))
        return code + data if limits.unit_position == "before" else data + code


_VOLUMES = (Field("volume_total", "m3"), Field("volume_settlement", "m3"))
_HEAT = (
    Field("heat_settlement", "kWh"),
    Field("heat_total", "kWh"),
    Field("thermal_power", "kW"),
    Field("flow", "m3/h", decimals=4),
    Field("volume_total", "m3"),
    Field("supply_temperature", "degC", 3, 2, coded=False),
    Field("return_temperature", "degC", 3, 2, coded=False),
    Field("working_hours", "h", 3, 0, coded=False),
)


@dataclass(frozen=True, slots=True)
class Metering:
    """One answer, understood."""

    values: Mapping[FieldName, Value]
    """None: the meter has no value (a nibble above 9), or its unit is not known."""
    unknown_units: Mapping[FieldName, int]
    """Fields whose unit code is not in the table; their numbers are not guessed."""
    meter_time: str | None
    """The meter's own clock, which knows no zone; None when it is not set."""
    status: bytes
    valve: int
    """Index into VALVES."""
    battery_low: bool

    def value(self, field: FieldName) -> Value:
        """Return a field as a number; None: no value."""
        if field == "valve":
            return self.valve
        return int(self.battery_low) if field == "battery_low" else self.values[field]


def fields_of(meter_type: int) -> tuple[Field, ...] | None:
    """Return how the answer of a meter with this T is laid out; None: not known."""
    if 0x10 <= meter_type <= 0x19 or 0x30 <= meter_type <= 0x39:
        return _VOLUMES
    return _HEAT if meter_type in (0x20, 0x21) else None


def size_of(fields: Sequence[Field]) -> int:
    """Return the data bytes of the answer, without identifier and SER."""
    return sum(field.size + field.coded for field in fields) + _CLOCK_SIZE + _STATUS_SIZE


def decode(fields: Sequence[Field], data: bytes, limits: Limits) -> Metering | None:
    """Decode an answer after identifier and SER; None when its length is another."""
    if len(data) != size_of(fields):
        return None
    values: dict[FieldName, Value] = {}
    unknown: dict[FieldName, int] = {}
    at = 0
    for field in fields:
        end = at + field.size + field.coded
        values[field.name], code = field.decode(data[at:end], limits)
        if code is not None:
            unknown[field.name] = code
        at = end
    status = data[-_STATUS_SIZE:]
    bits = status[0] if limits.status_bits == "low_first" else int(f"{status[0]:08b}"[::-1], 2)
    return Metering(values, unknown, _clock(data[at:-_STATUS_SIZE]), status, bits & 3, bool(bits & 4))


def encode(
    fields: Sequence[Field], values: Mapping[FieldName, float | None], limits: Limits, status: bytes = b"\0\0"
) -> bytes:
    """Inverse of ``decode``, with a clock that is not set; what ``values`` does not name is 0."""
    numbers = b"".join(field.encode(values.get(field.name, 0.0), limits) for field in fields)
    return numbers + bytes(_CLOCK_SIZE) + status


def _clock(data: bytes) -> str | None:
    """ss mm hh DD MM YY CC; None when that is no moment."""
    try:
        return datetime.strptime(digits_of(data) or "", "%Y%m%d%H%M%S").strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
    except ValueError:
        return None
