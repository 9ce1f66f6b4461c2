"""What ``sitegate decode hj212`` prints: one object per packet, or per place where the stream is broken.

Strict, as the standard is: right length, the standard's own check sum, CR LF (or at once the next header), at most
1024 bytes. What the gateway takes in spite of a fault, because a station's settings say so, is shown with the fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from drivers.hj212.codec import LONGEST_SEGMENT, Malformed, opened, parse
from drivers.hj212.crc import CrcKind, crc_text
from drivers.hj212.stream import Cutter, Piece

EXAMPLE_KEY = b"0" * 16
"""Of the standard's own example (HJ 212-2025 annex A.2, reported): tried when no other key is given."""
_OTHER_KINDS: tuple[CrcKind, ...] = ("hj212_swapped", "modbus", "modbus_swapped")


def describe(chunks: Iterable[bytes], key: bytes | None = None) -> Iterator[dict[str, Any]]:
    """Yield what a stream holds, in order: ``valid`` and the keys of the packet, or ``valid: false`` and ``error``.

    ``key``: 16 bytes for SM4 data areas. Raises nothing, whatever the bytes.
    """
    cutter = Cutter(lambda segment, crc: opened(segment, crc, key=key or EXAMPLE_KEY), strict=True)
    for chunk in chunks:
        yield from map(_describe, cutter.feed(chunk))
    while cutter.pending:
        yield from map(_describe, cutter.give_up())


def _describe(piece: Piece) -> dict[str, Any]:
    if piece.fault in ("noise", "half"):
        return {"valid": False, "error": piece.fault, "skipped_bytes": len(piece.data)}
    length = len(piece.data)
    fault = piece.fault or ("too_long" if length > LONGEST_SEGMENT else None)
    entry: dict[str, Any] = {"valid": fault is None}
    if fault is not None:
        entry["error"] = fault
    if piece.fault == "bad_crc":
        entry |= _crc_advice(piece)
    try:
        packet = parse(piece.data)
    except Malformed as why:
        return {**entry, "valid": False, "error": fault or why.cause, "detail": str(why), "length": length}
    entry["header"] = packet.header
    entry["flag_bits"] = None if packet.flag_bits is None else packet.flag_bits._asdict()
    entry["cp"] = {"fields": packet.fields, "factors": packet.factors}
    entry |= {"length": length, "crc": piece.crc}
    if piece.enciphered:
        entry["encrypted"] = True
    return entry


def _crc_advice(piece: Piece) -> dict[str, str]:
    """The right check sum, and the name of the wrong kind if the sender uses one that we know."""
    advice = {"crc_expected": crc_text(piece.data)}
    kind = next((k for k in _OTHER_KINDS if crc_text(piece.data, k) == piece.crc), None)
    return advice if kind is None else {**advice, "crc_kind": kind}
