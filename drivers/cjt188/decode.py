"""What ``sitegate decode cjt188`` prints: one object per frame, or per place where a frame is broken."""

from __future__ import annotations

from typing import Any

from drivers.cjt188.codec import CURRENT_DATA, FRAMING, Frame, di_text, parse
from drivers.cjt188.metering import METER_TYPES, VALVES, Field, Limits, decode, fields_of
from drivers.meters.describe import describe_stream

_KINDS = {code: str(name) for name, code in METER_TYPES.items()} | {0x22: "heat_and_cooling", 0xAA: "wildcard"}
_FUNCTIONS = {
    0x01: "read",
    0x03: "read_address",
    0x04: "write",
    0x09: "read_key_version",
    0x15: "write_address",
    0x16: "write_motor_sync",
}
_UNIT_FIRST = Limits(unit_position="before")


def describe(data: bytes) -> list[dict[str, Any]]:
    """Return what ``data`` holds, in order, as ``drivers.meters.describe.describe_stream`` says."""
    return describe_stream(data, FRAMING, _describe_frame)


def _describe_frame(raw: bytes, preamble: int) -> dict[str, Any]:
    frame = parse(raw)
    entry: dict[str, Any] = {
        "valid": True,
        "preamble": preamble,
        "meter_type": f"{frame.meter_type:02X}",
        "meter_kind": _kind(frame.meter_type),
        "address": frame.address,
        "manufacturer": frame.address[:4],
        "control": f"{frame.control:02X}",
        "frame": _function(frame.function) + _direction(frame),
        "from_meter": frame.from_meter,
        "error": frame.error,
    }
    if frame.error:
        _add_refusal(entry, frame.data)
        return entry
    error = _add_data(entry, frame)
    return {"valid": False, "error": error, "frame_ok": True} if error else entry


def _kind(meter_type: int) -> str:
    return _KINDS.get(meter_type, "other" if 0x40 <= meter_type <= 0x49 else "unknown")


def _function(function: int) -> str:
    return _FUNCTIONS.get(function, "vendor" if function >= 0x20 else "unknown")


def _direction(frame: Frame) -> str:
    if frame.error:
        return "_error"
    return "_reply" if frame.from_meter else "_request"


def _add_refusal(entry: dict[str, Any], data: bytes) -> None:
    """SER and two bytes of status; anything else stays raw."""
    if len(data) == 3:
        entry["ser"] = data[0]
        entry["status"] = data[1:].hex(" ").upper()
    elif data:
        entry["data"] = data.hex(" ").upper()


def _add_data(entry: dict[str, Any], frame: Frame) -> str | None:
    """Add what the data field says; return what is wrong with it."""
    data = frame.data
    if len(data) < 3:
        return "no_di"
    entry["di_wire"] = data[:2].hex().upper()
    entry["di"], _ = di_text(data[:2])
    entry["ser"] = data[2]
    rest = data[3:]
    fields = fields_of(frame.meter_type)
    if frame.control == 0x81 and entry["di"] == CURRENT_DATA and fields is not None:
        return _add_metering(entry, fields, rest)
    if rest:
        entry["data"] = rest.hex(" ").upper()
    return None


def _add_metering(entry: dict[str, Any], fields: tuple[Field, ...], data: bytes) -> str | None:
    metering = decode(fields, data, Limits())
    if metering is not None and metering.unknown_units:
        unit_first = decode(fields, data, _UNIT_FIRST)
        if unit_first is not None and not unit_first.unknown_units:
            metering = unit_first
            entry["unit_position"] = "before"
    if metering is None:
        return "length"
    if metering.unknown_units:
        return "unknown_unit"
    if None in metering.values.values():
        return "not_bcd"
    entry["values"] = [{"name": f.name, "value": metering.values[f.name], "unit": f.unit} for f in fields]
    entry["meter_time"] = metering.meter_time
    entry["status"] = metering.status.hex(" ").upper()
    entry["valve"] = VALVES[metering.valve]
    entry["battery_low"] = metering.battery_low
    return None
