"""Modbus RTU bytes explained, for ``sitegate decode modbus-rtu``. Pure.

RTU frames carry no length and requests look like replies, so a frame is what has a function's length and a sound
CRC. Eight bytes of a read are a request, unless their count would be impossible.
"""

from __future__ import annotations

import struct
from typing import Any

from drivers.modbus.frames import EXCEPTIONS, crc_ok

_READ_BITS = (1, 2)
_READ_REGISTERS = (3, 4)
_WRITE_ONE = (5, 6)
_WRITE_MANY = (15, 16)
_SHORTEST = 4
_LONGEST = 256
"""Modbus over serial line 1.02, 2.5.1: no frame is longer; without this a long recording is copied for each byte."""
_REQUEST = 8
_ERROR = 5


def _sizes(data: bytes) -> list[int]:
    """Return the lengths that a frame beginning with these four or more bytes may have; [] for unknown functions."""
    function = data[1]
    if function & 0x80:
        return [_ERROR]
    if function in _READ_BITS or function in _READ_REGISTERS:
        whole = data[2] > 0 and (function in _READ_BITS or data[2] % 2 == 0)
        return [_REQUEST, 5 + data[2]] if whole else [_REQUEST]
    if function in _WRITE_ONE:
        return [_REQUEST]
    if function in _WRITE_MANY:
        return [_REQUEST, 9 + data[6]] if len(data) > 6 and data[6] else [_REQUEST]
    return []


def describe(frame: bytes) -> dict[str, Any]:
    """Explain exactly one frame, or say what is wrong with it: checksum, length or too_short."""
    if len(frame) < _SHORTEST:
        return {"valid": False, "error": "too_short", "need_more": _SHORTEST - len(frame), "data": frame.hex()}
    sizes = _sizes(frame)
    ok = crc_ok(frame)
    known = {"unit": frame[0], "function": frame[1], "crc_ok": ok}
    if sizes and len(frame) not in sizes:
        short = [size - len(frame) for size in sizes if size > len(frame)]
        more = {"need_more": min(short)} if short else {}
        return {"valid": False, "error": "length", **more, **known, "data": frame.hex()}
    if not ok:
        return {"valid": False, "error": "checksum", **known, "data": frame.hex()}
    return {"valid": True, **known, **_content(frame)}


def _content(frame: bytes) -> dict[str, Any]:
    function, body = frame[1], frame[2:-2]
    if function & 0x80:
        code = body[0]
        return {"kind": "error", "exception": code, "exception_text": EXCEPTIONS.get(code, "unknown")}
    if function in _READ_BITS or function in _READ_REGISTERS:
        if len(frame) == _REQUEST:
            address, count = struct.unpack(">HH", body)
            if 1 <= count <= (2000 if function in _READ_BITS else 125) or body[0] != 3:
                return {"kind": "request", "address": address, "count": count}
        if function in _READ_BITS:
            return {"kind": "reply", "bits": _bits(body[1:])}
        return {"kind": "reply", "registers": _registers(body[1:])}
    if function in _WRITE_ONE:
        # The reply to a single write repeats the request: nobody can tell them apart.
        address, value = struct.unpack(">HH", body)
        return {"kind": "request", "address": address, "value": value}
    if function in _WRITE_MANY:
        address, count = struct.unpack(">HH", body[:4])
        if len(frame) == _REQUEST:
            return {"kind": "reply", "address": address, "count": count}
        content = {"bits": _bits(body[5:])[:count]} if function == 15 else {"registers": _registers(body[5:])}
        return {"kind": "request", "address": address, "count": count, **content}
    return {"kind": "unknown", "data": body.hex()}


def _bits(packed: bytes) -> list[int]:
    return [byte >> i & 1 for byte in packed for i in range(8)]


def _registers(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 2}H", data[: len(data) // 2 * 2]))


def describe_stream(data: bytes) -> list[dict[str, Any]]:
    """Explain all frames in a recording, in order; what lies between sound ones comes as one error each."""
    found: list[dict[str, Any]] = []
    junk_from = at = 0
    while at < len(data):
        size = next((s for s in _candidates(data[at : at + _LONGEST]) if crc_ok(data[at : at + s])), 0)
        if not size:
            at += 1
            continue
        if junk_from < at:
            found.append(_junk(data[junk_from:at]))
        found.append(describe(data[at : at + size]))
        at = junk_from = at + size
    if junk_from < len(data):
        found.append(_junk(data[junk_from:]))
    return found


def _candidates(rest: bytes) -> list[int]:
    return [size for size in _sizes(rest) if size <= len(rest)] if len(rest) >= _SHORTEST else []


def _junk(data: bytes) -> dict[str, Any]:
    told = describe(data)
    if told["valid"]:  # a function without a known length, but with a sound CRC
        return told
    return {**told, "skipped": len(data)}
