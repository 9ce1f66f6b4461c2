"""Packed BCD as meters send it: two digits per byte, low pair first. A nibble above 9 means "no value", never 0."""

from __future__ import annotations


def digits_of(data: bytes) -> str | None:
    """Return the digits as printed; None when a nibble is none."""
    digits = data[::-1].hex()
    return digits if digits.isdecimal() else None


def from_digits(digits: str, size: int) -> bytes:
    """Inverse of ``digits_of``, filled with zeros. Raises ValueError when the digits need more than ``size`` bytes."""
    if len(digits) > 2 * size or not digits.isdecimal():
        raise ValueError(f"{digits} does not fit into {size} BCD bytes")
    return bytes.fromhex(digits.zfill(2 * size))[::-1]
