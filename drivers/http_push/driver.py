"""Equipment that posts JSON to a port of ours: what the gateway asks of every protocol. The port is in ``listener``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.api import Value
from drivers.http_push.codec import Address, Limits, Point
from drivers.json_fields.fields import fault, read_message

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Limits", "Point", "check_address", "check_point", "check_write", "read_example",
]  # fmt: skip

WIRES = frozenset({"http"})
FRAMINGS: frozenset[str] = frozenset()


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """As ``drivers.api.Driver.check_point``."""
    wrong = fault(point)
    return None if wrong is None else f"{name}: {wrong}"


def check_write(name: str, point: Point, limits: Limits, *, timed: bool, raws: Sequence[float] = (0, 1)) -> str | None:
    """As ``drivers.api.Driver.check_write``: there is no way back to who posts."""
    return f"{name}: equipment that posts is only ever read"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``: there is but one kind of link."""
    return None


def read_example(points: Mapping[str, Point], raw: Any, limits: Limits | None = None) -> dict[str, Value]:
    """Decode ``{"body": {...JSON...}}``: one message as the device posts it."""
    if not isinstance(raw, Mapping) or "body" not in raw:
        raise ValueError("raw must be body: {windSpeed: 3.2}, a message as the device posts it")
    return read_message(points, raw["body"], '"body"')
