"""HJ 212 stations as devices: what the gateway asks of every protocol. The conversation is in ``listener``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.api import Value
from drivers.hj212.codec import Malformed, opened, parse
from drivers.hj212.crc import CrcKind
from drivers.hj212.points import Address, Limits, Point, fault
from drivers.hj212.station import keys_of, read
from drivers.hj212.stream import Cutter

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Limits", "Point", "check_address", "check_point", "check_write", "read_example",
]  # fmt: skip

WIRES = frozenset({"hj212_server", "tcp", "serial"})
FRAMINGS = frozenset({"rtu"})

_KINDS: tuple[CrcKind, ...] = ("hj212", "hj212_swapped", "modbus", "modbus_swapped")


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """As ``drivers.api.Driver.check_point``."""
    wrong = fault(point)
    return None if wrong is None else f"{name}: {wrong}"


def check_write(name: str, point: Point, limits: Limits, *, timed: bool, raws: Sequence[float] = (0, 1)) -> str | None:
    """As ``drivers.api.Driver.check_write``: a station measures, there is nothing to switch."""
    return f"{name}: HJ 212 stations are only ever read"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``."""
    if address.source is not None and wire != "hj212_server":
        return "source says from where a station may connect to us; on this link we connect: remove it"
    return None


def read_example(points: Mapping[str, Point], raw: Any, limits: Limits | None = None) -> dict[str, Value]:
    """Decode ``{"packets": ["##0239QN=…&&E541", …]}``: whole packets as a station sent them, CR LF may be missing."""
    packets = raw.get("packets") if isinstance(raw, Mapping) else None
    if not isinstance(packets, list) or not packets or not all(isinstance(p, str) for p in packets):
        raise ValueError('raw must be packets: ["##0239QN=…&&E541"], each a whole packet with length and check sum')
    values: dict[str, Value] = {}
    for text in packets:
        cutter = Cutter(_any_kind)
        pieces = cutter.feed(text.encode())
        if len(pieces) != 1 or pieces[0].fault is not None:
            raise ValueError(f"raw: length or check sum of {text[:40]!r}… is wrong")
        try:
            packet = parse(pieces[0].data)
        except Malformed as why:
            raise ValueError(f"raw: {text[:40]!r}…: {why}") from None
        found = read(packet, keys_of(points, packet.header["CN"]))
        values |= {name: one.value for name, one in found.items()}
    return values


def _any_kind(segment: bytes, crc: bytes) -> bytes | None:
    return next((clear for kind in _KINDS if (clear := opened(segment, crc, kind, short=True)) is not None), None)
