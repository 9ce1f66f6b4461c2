"""What a data identifier holds: fields, bytes, decimals, unit, sign; for DL/T 645-2007, and what is known of 1997.

Numbers are packed BCD, low byte first; where a sign exists it is the top bit of the last byte. A nibble above 9 means
"no value" and never becomes 0. Identifiers are written as printed: "0201FF00" (2007), "9010" (1997).
Confidence: 0000-000A, 0201-0206, 028000xx and 0400 are confirmed by several open implementations; the units of
0208-020B are from memory; of 1997 only 90xx, B61x and B630 were seen in frames, the rest is reported. Ranges of
single vendors (028022FF, 04A20200) are not here: unknown data stay raw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from drivers.meters.bcd import digits_of, from_digits

Kind = Literal["number", "digits", "text", "bits", "date", "time", "date_time"]
FieldValue = float | int | str | None
"""One decoded field. None: the meter sent no value (nibble above 9) or no possible date."""

_DATES = {"date": ("%y%m%d", "%Y-%m-%d"), "time": ("%H%M%S", "%H:%M:%S"), "date_time": ("%y%m%d%H%M", "%Y-%m-%d %H:%M")}


@dataclass(frozen=True, slots=True)
class Field:
    """One value inside a data item."""

    name: str
    unit: str
    size: int
    """Bytes."""
    decimals: int = 0
    signed: bool = False
    kind: Kind = "number"

    def decode(self, data: bytes) -> FieldValue:
        """Decode exactly ``size`` bytes."""
        if self.kind == "number":
            return self._number(data)
        if self.kind == "bits":
            return int.from_bytes(data, "little")
        if self.kind == "text":
            return data[::-1].decode("ascii", "replace").strip("\0 ")
        digits = digits_of(data)
        if digits is None:
            return None
        if self.kind == "digits":
            return digits
        wire, printed = _DATES[self.kind]
        try:
            return datetime.strptime(digits, wire).strftime(printed)  # noqa: DTZ007  the meter knows no zone
        except ValueError:
            return None

    def _number(self, data: bytes) -> float | int | None:
        negative = self.signed and data[-1] & 0x80
        if negative:
            data = data[:-1] + bytes((data[-1] & 0x7F,))
        digits = digits_of(data)
        if digits is None:
            return None
        number = -int(digits) if negative else int(digits)
        return number / 10**self.decimals if self.decimals else number

    def encode(self, value: FieldValue) -> bytes:
        """Inverse of ``decode``; None becomes FF. Raises ValueError when the value does not fit."""
        if value is None:
            return b"\xff" * self.size
        if self.kind == "number":
            return self._number_bytes(float(value))
        if self.kind == "bits":
            return int(value).to_bytes(self.size, "little")
        if self.kind == "text":
            return str(value).encode("ascii").ljust(self.size, b" ")[: self.size][::-1]
        digits = str(value)
        if self.kind != "digits":
            wire, printed = _DATES[self.kind]
            digits = datetime.strptime(digits, printed).strftime(wire)  # noqa: DTZ007
        return from_digits(digits, self.size)

    def _number_bytes(self, value: float) -> bytes:
        number = round(value * 10**self.decimals)
        top = 10 ** (2 * self.size) * (8 if self.signed else 10) // 10
        if not -top < number < top or (number < 0 and not self.signed):
            raise ValueError(f"{self.name}: {value:g} {self.unit} does not fit into {self.size} BCD bytes")
        data = bytearray(from_digits(str(abs(number)), self.size))
        if number < 0:
            data[-1] |= 0x80
        return bytes(data)


@dataclass(frozen=True, slots=True)
class Item:
    """What one data identifier holds."""

    di: str
    fields: tuple[Field, ...]
    """In wire order, unless ``high_first``. An energy block may hold fewer: the meter sends the tariffs it has."""
    singles: tuple[str, ...] = ()
    """Blocks only: the identifiers that bring the same fields one by one."""
    high_first: bool = False
    """The fields are listed as the standard prints them (YYMMDDWW); on the wire the last one comes first."""

    def single(self, index: int) -> tuple[str, int]:
        """Return where field ``index`` of this block is found when asked for alone: identifier and index there."""
        per_single = len(self.fields) // len(self.singles)
        return self.singles[index // per_single], index % per_single

    def decode(self, data: bytes, *, partial: bool = False) -> tuple[FieldValue, ...] | None:
        """Return one value per field that ``data`` holds; None when they do not end at a field's border.

        ``partial``: more data follow, an unfinished field at the end is left out.
        """
        values: list[FieldValue] = []
        at = 0
        for field in reversed(self.fields) if self.high_first else self.fields:
            end = at + field.size
            if end > len(data):
                break
            values.append(field.decode(data[at:end]))
            at = end
        if not partial and (at != len(data) or not values):
            return None
        return tuple(reversed(values)) if self.high_first else tuple(values)

    def encode(self, values: Sequence[FieldValue]) -> bytes:
        """Inverse of ``decode``; fewer values than fields give a shorter block."""
        parts = [field.encode(value) for field, value in zip(self.fields, values, strict=False)]
        return b"".join(reversed(parts) if self.high_first else parts)


_ENERGIES = {
    0x00: ("active_energy_combined", "kWh", True),
    0x01: ("active_energy_forward", "kWh", False),
    0x02: ("active_energy_reverse", "kWh", False),
    0x03: ("reactive_energy_combined1", "kvarh", True),
    0x04: ("reactive_energy_combined2", "kvarh", True),
    0x05: ("reactive_energy_quadrant1", "kvarh", False),
    0x06: ("reactive_energy_quadrant2", "kvarh", False),
    0x07: ("reactive_energy_quadrant3", "kvarh", False),
    0x08: ("reactive_energy_quadrant4", "kvarh", False),
    0x09: ("apparent_energy_forward", "kVAh", False),
    0x0A: ("apparent_energy_reverse", "kVAh", False),
}
_DEMANDS = {0x01: "active_demand_forward_max", 0x02: "active_demand_reverse_max"}
_PHASES = {
    0x01: ("voltage", "V", 2, 1, False, False),
    0x02: ("current", "A", 3, 3, True, False),
    0x03: ("active_power", "kW", 3, 4, True, True),
    0x04: ("reactive_power", "kvar", 3, 4, True, True),
    0x05: ("apparent_power", "kVA", 3, 4, True, True),
    0x06: ("power_factor", "", 2, 3, True, True),
    0x07: ("phase_angle", "deg", 2, 1, False, False),
    0x08: ("voltage_distortion", "%", 2, 2, False, False),
    0x09: ("current_distortion", "%", 2, 2, False, False),
}
"""DI2 of class 02: name, unit, bytes, decimals, signed, has a total at DI1 = 0."""
_HARMONICS = {0x0A: "voltage", 0x0B: "current"}
_BLOCK, _MAX_TARIFF, _MAX_SETTLEMENT = 0xFF, 63, 12

_SINGLE_ITEMS = {
    "02800001": (Field("neutral_current", "A", 3, 3, True),),
    "02800002": (Field("frequency", "Hz", 2, 2),),
    "02800003": (Field("active_power_minute_mean", "kW", 3, 4, True),),
    "02800004": (Field("active_demand", "kW", 3, 4, True),),
    "02800005": (Field("reactive_demand", "kvar", 3, 4, True),),
    "02800006": (Field("apparent_demand", "kVA", 3, 4, True),),
    "02800007": (Field("meter_temperature", "degC", 2, 1, True),),
    "02800008": (Field("clock_battery_voltage", "V", 2, 2),),
    "02800009": (Field("reading_battery_voltage", "V", 2, 2),),
    "0280000A": (Field("battery_minutes", "min", 4),),
    "04000101": (Field("date", "", 3, kind="date"), Field("weekday", "", 1)),
    "04000102": (Field("time", "", 3, kind="time"),),
    "04000401": (Field("communication_address", "", 6, kind="digits"),),
    "04000402": (Field("meter_number", "", 6, kind="digits"),),
    "04000403": (Field("asset_code", "", 32, kind="text"),),
    **{f"040005{n:02X}": (Field(f"status_word_{n}", "", 2, kind="bits"),) for n in range(1, 8)},
    "04000703": (Field("port1_baud_word", "", 1, kind="bits"),),
}

_ITEMS_1997 = {
    "901": ("active_energy_forward", "kWh", 4, 2, 0, 4),
    "902": ("active_energy_reverse", "kWh", 4, 2, 0, 4),
    "911": ("reactive_energy_forward", "kvarh", 4, 2, 0, 4),
    "912": ("reactive_energy_reverse", "kvarh", 4, 2, 0, 4),
    "B61": ("voltage", "V", 2, 0, 1, 3),
    "B62": ("current", "A", 2, 2, 1, 3),
    "B63": ("active_power", "kW", 3, 4, 0, 3),
    "B64": ("reactive_power", "kvar", 2, 2, 0, 3),
    "B65": ("power_factor", "", 2, 3, 0, 3),
}
"""1997, DI high byte and high nibble -> name, unit, bytes, decimals, number of the first and last single."""


@lru_cache(maxsize=1024)
def find_item(di: str) -> Item | None:
    """Return what identifier ``di`` holds (8 hexadecimal digits: 2007, 4: 1997, upper case); None: not known."""
    if len(di) == 4:
        return _find_1997(di)
    if di in _SINGLE_ITEMS:
        return Item(di, _SINGLE_ITEMS[di], high_first=di == "04000101")
    try:
        group, quantity, part, last = bytes.fromhex(di)
    except ValueError:
        return None
    if group == 0x00:
        return _find_energy(di, quantity, part, last)
    if group == 0x01:
        return _find_demand(di, quantity, part, last)
    if group == 0x02:
        return _find_instantaneous(di, quantity, part, last)
    return None


def _find_energy(di: str, quantity: int, tariff: int, settlement: int) -> Item | None:
    if quantity not in _ENERGIES or settlement > _MAX_SETTLEMENT:
        return None
    name, unit, signed = _ENERGIES[quantity]
    return _per_tariff(di, tariff, lambda n: (Field(name + _tariff(n) + _settled(settlement), unit, 4, 2, signed),))


def _find_demand(di: str, quantity: int, tariff: int, settlement: int) -> Item | None:
    if quantity not in _DEMANDS or settlement > _MAX_SETTLEMENT:
        return None
    name = _DEMANDS[quantity]
    return _per_tariff(
        di,
        tariff,
        lambda n: (
            Field(name + _tariff(n, "") + _settled(settlement), "kW", 3, 4),
            Field("occurred_at" + _tariff(n, "") + _settled(settlement), "", 5, kind="date_time"),
        ),
    )


def _find_instantaneous(di: str, quantity: int, part: int, last: int) -> Item | None:
    if quantity in _HARMONICS:  # 020A0p0n: n-th harmonic of phase p
        if not (1 <= part <= 3 and 1 <= last <= 15):
            return None
        return Item(di, (Field(f"{_HARMONICS[quantity]}_l{part}_harmonic_{last}", "%", 2, 2),))
    if quantity not in _PHASES or last != 0:
        return None
    name, unit, size, decimals, signed, has_total = _PHASES[quantity]
    numbers = range(0 if has_total else 1, 4)
    fields = {n: Field(name + _phase(n), unit, size, decimals, signed) for n in numbers}
    if part == _BLOCK:
        return Item(di, tuple(fields.values()), tuple(f"02{quantity:02X}{n:02X}00" for n in numbers))
    return Item(di, (fields[part],)) if part in fields else None


def _find_1997(di: str) -> Item | None:
    if di == "C032":
        return Item(di, (Field("meter_number", "", 6, kind="digits"),))
    if di[:3] not in _ITEMS_1997:
        return None
    name, unit, size, decimals, first, last = _ITEMS_1997[di[:3]]
    suffix = _tariff if di[0] == "9" else _phase
    fields = {f"{n:X}": Field(name + suffix(n), unit, size, decimals) for n in range(first, last + 1)}
    if di[3] == "F":
        return Item(di, tuple(fields.values()), tuple(di[:3] + n for n in fields))
    return Item(di, (fields[di[3]],)) if di[3] in fields else None


def _per_tariff(di: str, tariff: int, fields: Callable[[int], tuple[Field, ...]]) -> Item | None:
    """Total (0), one tariff (1 .. 63) or the block of all of them."""
    if tariff == _BLOCK:
        numbers = range(_MAX_TARIFF + 1)
        singles = tuple(f"{di[:4]}{n:02X}{di[6:]}" for n in numbers)
        return Item(di, tuple(field for n in numbers for field in fields(n)), singles)
    return Item(di, fields(tariff)) if tariff <= _MAX_TARIFF else None


def _tariff(number: int, total: str = "_total") -> str:
    return f"_tariff{number}" if number else total


def _phase(number: int) -> str:
    return f"_l{number}" if number else "_total"


def _settled(number: int) -> str:
    return f"_settlement{number}" if number else ""
