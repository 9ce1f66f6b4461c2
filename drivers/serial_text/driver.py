"""Instruments that print lines, by themselves or when they are asked: what the gateway asks of every protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.api import Rejected, Value
from drivers.serial_text.codec import Address, Limits, Point, Reader, fault

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Limits", "Point", "check_address", "check_point", "check_write", "read_example",
]  # fmt: skip

WIRES = frozenset({"serial", "tcp"})
FRAMINGS = frozenset({"rtu"})


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """As ``drivers.api.Driver.check_point``."""
    wrong = fault(point, limits)
    return None if wrong is None else f"{name}: {wrong}"


def check_write(name: str, point: Point, limits: Limits, *, timed: bool, raws: Sequence[float] = (0, 1)) -> str | None:
    """As ``drivers.api.Driver.check_write``: what prints is not switched."""
    return f"{name}: instruments that print lines are only ever read"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``."""
    return "id is empty: leave it out, or write what stands in the lines" if address.id == "" else None


def read_example(points: Mapping[str, Point], raw: Any, limits: Limits | None = None) -> dict[str, Value]:
    """Decode ``{"lines": ["PM10=35,N=61.2"]}``: whole lines without their ends."""
    lines = raw.get("lines") if isinstance(raw, Mapping) else None
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines):
        raise ValueError('raw must be lines: ["PM10=35,N=61.2"], each a line as the instrument prints it')
    reader = Reader("example", Address(), points, limits or Limits())
    values: dict[str, Value] = {}
    for line in lines:
        report = reader.read(line.encode((limits or Limits()).encoding))
        if report is None:
            raise ValueError(f"raw: limits.pattern does not match the whole of {line!r}")
        if isinstance(report, Rejected):
            raise ValueError(f"raw: {report.detail}")
        values |= dict(zip(report.points, report.values, strict=True))
    return values
