"""The check sums that HJ 212 stations send. Pure.

The standard's own (HJ 212-2017 annex A, unchanged in 2005 and 2025) is not CRC-16/MODBUS, although it shares the
polynomial; stations that send the latter, or swap the bytes, are frequent.
"""

from __future__ import annotations

import re
from typing import Literal

CrcKind = Literal["hj212", "hj212_swapped", "modbus", "modbus_swapped"]
"""``hj212`` is the standard; ``swapped`` sends the low byte first."""

_POLYNOMIAL = 0xA001
_INITIAL = 0xFFFF
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_SHORT_HEX = re.compile(rb"[0-9A-Fa-f]{3}\r")
_WORD_BITS = 64


def _after_eight_shifts(register: int) -> int:
    for _ in range(8):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


_TABLE = tuple(_after_eight_shifts(byte) for byte in range(256))


def hj212_crc(data: bytes) -> int:
    """Return the check sum of annex A: the register moves right by eight, then takes the byte in, then eight shifts.

    Only eight bits of the register outlive a step, and eight steps without data change nothing (the step has period
    8), so bytes whose distance from the end agrees modulo 8 may be added up first. That makes ten thousand bytes as
    cheap as ten: a peer that sends nothing but false headers cannot keep us busy.
    """
    if not data:
        return _INITIAL
    words = -(-len(data) // 8)
    folded = int.from_bytes(data) ^ 0xFF << 8 * (len(data) - 1)  # the initial value, taken in with the first byte
    while words > 1:
        low = words // 2
        folded, words = folded >> _WORD_BITS * low ^ folded & ((1 << _WORD_BITS * low) - 1), words - low
    register = 0
    for byte in folded.to_bytes(8):
        register = _TABLE[register >> 8 ^ byte]
    return register


def modbus_crc(data: bytes) -> int:
    """Return CRC-16/MODBUS as a number."""
    register = _INITIAL
    for byte in data:
        register = _TABLE[(register ^ byte) & 0xFF] ^ register >> 8
    return register


def crc_text(data: bytes, kind: CrcKind = "hj212") -> str:
    """Return the four hex digits that a station of this kind sends after ``data``."""
    value = (modbus_crc if kind.startswith("modbus") else hj212_crc)(data)
    if kind.endswith("_swapped"):
        value = value >> 8 | (value & 0xFF) << 8
    return f"{value:04X}"


def fits(data: bytes, sent: bytes, kind: CrcKind = "hj212", *, short: bool = False) -> bool:
    """True when ``sent`` is the check sum of ``data``, in either case of letters.

    ``short``: a leading zero may be missing, so that ``sent`` is three digits and the CR behind them.
    """
    if _HEX.fullmatch(sent) is None and not (short and _SHORT_HEX.fullmatch(sent)):
        return False
    return int(crc_text(data, kind), 16) == int(sent, 16)
