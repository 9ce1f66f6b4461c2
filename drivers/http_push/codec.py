"""What a posted JSON message says, and whose it is. Pure; the same mapping serves gateway and simulator."""

from __future__ import annotations

from dataclasses import dataclass, field

from drivers.json_fields.fields import FieldType, Stamped

_LEAST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Point:
    """Where a value is found in the device's messages."""

    path: str
    """Keys joined by dots, list positions as numbers: ``data.sensors.0.value``."""
    type: FieldType = "number"
    """``bits_msb_first``: text of 0 and 1 whose leftmost character is the highest bit. ``text``: see ``map``."""
    bit: int | None = None
    """Only this bit (0 is the lowest) of a bit text or of a whole number."""
    map: dict[str, float] | None = None
    """For ``text``: what each text means, as a number."""


@dataclass(frozen=True, slots=True)
class Limits(Stamped):
    """Where the device's own time stamp stands in each of its messages."""


@dataclass(frozen=True, slots=True)
class Address:
    """Who posts."""

    token: str = field(repr=False)
    """What the device shows with each message; each device has its own."""

    def __post_init__(self) -> None:
        if len(self.token) < _LEAST_TOKEN or not self.token.isascii() or not self.token.isprintable():
            raise ValueError(
                f"token: write at least {_LEAST_TOKEN} plain characters, such as those of `openssl rand -hex 24`"
            )


class Allowance:
    """So many messages in a minute, a quarter of them at once."""

    def __init__(self, per_min: float) -> None:
        self._per_s = per_min / 60
        self._most = max(1.0, per_min / 4)
        self._left = self._most
        self._at_s: float | None = None

    def take(self, now_s: float) -> float:
        """Take one; return 0, or after how many seconds there will be one."""
        if self._at_s is not None:
            self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._per_s
