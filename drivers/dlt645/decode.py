"""What ``sitegate decode dlt645`` prints: one object per frame, or per place where a frame is broken.

Whether a frame is of 2007 or of 1997 is told by its function and by the length of its data. Only the error bits of
2007 are known well enough to be named.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drivers.dlt645.codec import FRAMING, Frame, di_text, error_names, parse
from drivers.dlt645.items import find_item
from drivers.meters.describe import describe_stream

_FUNCTIONS_2007 = {
    0x03: "security",
    0x11: "read",
    0x12: "read_following",
    0x13: "read_address",
    0x14: "write",
    0x15: "write_address",
    0x16: "freeze",
    0x17: "change_baud",
    0x18: "change_password",
    0x19: "clear_demand",
    0x1A: "clear_meter",
    0x1B: "clear_events",
    0x1C: "trip_close",
    0x1D: "multi_function_output",
}
_FUNCTIONS_1997 = {
    0x01: "read",
    0x02: "read_following",
    0x03: "reread",
    0x04: "write",
    0x0A: "write_address",
    0x0C: "change_baud",
    0x0F: "change_password",
    0x10: "clear_demand",
}
_BROADCAST_TIME = 0x08  # in both
_HAS_DI = ("read", "read_following", "reread", "write")


def describe(data: bytes) -> list[dict[str, Any]]:
    """Return what ``data`` holds, in order, as ``drivers.meters.describe.describe_stream`` says."""
    return describe_stream(data, FRAMING, _describe_frame)


def _describe_frame(raw: bytes, preamble: int) -> dict[str, Any]:
    frame = parse(raw)
    name, di_size = _kind(frame)
    entry: dict[str, Any] = {
        "valid": True,
        "preamble": preamble,
        "address": frame.address,
        "control": f"{frame.control:02X}",
        "frame": name if frame.function == _BROADCAST_TIME else name + _direction(frame),
        "from_meter": frame.from_meter,
        "error": frame.error,
        "more_follows": frame.more_follows,
    }
    if frame.error:
        if frame.data:
            entry["error_byte"] = f"{frame.data[0]:02X}"
            if di_size != 2:
                entry["error_bits"] = error_names(frame.data[0])
        return entry
    error = _add_data(entry, frame, name, di_size)
    return {"valid": False, "error": error, "frame_ok": True} if error else entry


def _kind(frame: Frame) -> tuple[str, int]:
    """Name of the function, and the size of its data identifier: 4 (2007), 2 (1997)."""
    function = frame.function
    if function == _BROADCAST_TIME:
        return "broadcast_time", 4
    reread = function == 0x03 and len(frame.data) == 2 and not frame.from_meter
    if function in _FUNCTIONS_2007 and not reread:
        return _FUNCTIONS_2007[function], 4
    if function in _FUNCTIONS_1997:
        return _FUNCTIONS_1997[function], 2
    return "unknown", 4


def _direction(frame: Frame) -> str:
    if frame.error:
        return "_error"
    if not frame.from_meter:
        return "_request"
    return "_reply_more_follows" if frame.more_follows else "_reply"


def _add_data(entry: dict[str, Any], frame: Frame, name: str, di_size: int) -> str | None:
    """Add what the data field says; return what is wrong with it."""
    data = frame.data
    if name in _HAS_DI and (data or name != "write"):  # the reply to a write is empty
        if len(data) < di_size:
            return "no_di"
        entry["di"] = di_text(data[:di_size])
        data = data[di_size:]
        if name == "read_following" and di_size == 4 and data:  # 1997 counts no parts (from memory)
            entry["seq"] = data[-1]
            data = data[:-1]
        if name == "write" and di_size == 4 and len(data) >= 8:
            entry["password_level"] = f"{data[0]:02X}"
            entry["password"] = di_text(data[1:4])
            entry["operator"] = di_text(data[4:8])
            data = data[8:]
    elif name == "read_address" and len(data) == 6:
        entry["meter_address"] = di_text(data)
        return None
    elif name == "write_address" and len(data) == 6:
        entry["new_address"] = di_text(data)
        return None
    elif name == "broadcast_time" and len(data) == 6:
        entry["time"] = _clock(data)
        return None
    if data:
        entry["data"] = data.hex(" ").upper()
    if frame.from_meter and name == "read":
        return _add_values(entry, data, partial=frame.more_follows)
    return None


def _add_values(entry: dict[str, Any], data: bytes, *, partial: bool) -> str | None:
    item = find_item(entry["di"])
    if item is None:
        return None
    values = item.decode(data, partial=partial)
    if values is None:
        return "length"
    pairs = list(zip(item.fields, values, strict=False))
    if any(value is None and field.kind in ("number", "digits") for field, value in pairs):
        return "not_bcd"
    entry["values"] = [{"name": f.name, "value": value, "unit": f.unit} for f, value in pairs]
    return None


def _clock(data: bytes) -> str | None:
    """ss mm hh DD MM YY; None when that is no moment."""
    try:
        return datetime.strptime(di_text(data), "%y%m%d%H%M%S").strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
    except ValueError:
        return None
