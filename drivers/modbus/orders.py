"""The same registers read in every order of words and bytes, for people who look for the right one. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from drivers.modbus.points import BIT_TABLES, Order, Point, Type, decode_block, encode, pack_payload

LETTERS: dict[tuple[Order, Order], str] = {
    ("high_first", "high_first"): "ABCD",
    ("low_first", "high_first"): "CDAB",
    ("high_first", "low_first"): "BADC",
    ("low_first", "low_first"): "DCBA",
}
"""(word_order, byte_order) -> how people write it."""
_MEASURED: dict[Type, tuple[float, float]] = {"f32": (1e-3, 1e9), "s32": (0x10000, 1e8)}
"""Sizes that numbers on a site have; what is smaller needs no second register."""


def in_every_order(point: Point, raw: float) -> dict[tuple[Order, Order], float]:
    """Return what the registers of a point mean in each (word_order, byte_order); {} where there is only one.

    ``raw``: what the point itself made of them.
    """
    if point.table in BIT_TABLES or point.type == "bit":
        return {}
    payload = pack_payload(point.table, encode(point, raw))
    read = {}
    for word, byte in LETTERS:
        if word == "high_first" or point.width > 1:
            other = dataclasses.replace(point, word_order=word, byte_order=byte)
            read[word, byte] = decode_block([other], point.address, payload)[0]
    return read


def readings(registers: Sequence[int]) -> list[dict[str, Any]]:
    """Return what each pair of neighbouring registers may mean: 32-bit types in four orders.

    ``offset``: the first register of the pair. ``plausible``: the readings that look like a measured number, as
    "f32 CDAB"; a guess. Whole numbers that fit into one register say nothing about the order and are not among them.
    """
    found = []
    for offset in range(len(registers) - 1):
        payload = pack_payload("holding", registers[offset : offset + 2])
        entry: dict[str, Any] = {"offset": offset}
        plausible = []
        types: tuple[Type, ...] = ("f32", "u32", "s32")
        for kind in types:
            of_type: dict[str, float | int | None] = {}
            for (word, byte), letters in LETTERS.items():
                point = Point("holding", 0, kind, word_order=word, byte_order=byte)
                number = decode_block([point], 0, payload)[0]
                of_type[letters] = _shown(kind, number)
                if _is_measured(kind, number):
                    plausible.append(f"{kind} {letters}")
            entry[kind] = of_type
        found.append({**entry, "plausible": plausible})
    return found


def _is_measured(kind: Type, number: float) -> bool:
    low, high = _MEASURED.get(kind, (math.inf, 0.0))
    return math.isfinite(number) and low <= abs(number) <= high


def _shown(kind: Type, number: float | int) -> float | int | None:
    if kind != "f32":
        return number
    return float(f"{number:.7g}") if math.isfinite(number) else None  # a 32-bit float has no more digits
