"""What a wire will have to carry: bytes, seconds and share of its time, before any device is touched. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.api import Device
from gateway.links.schedule import by_period

TURNAROUND_S = 0.02
"""Time that a device needs before it answers: 20 ms is the shortest that DL/T 645 allows and common for Modbus."""
TCP_ROUND_TRIP_S = 0.005


@dataclass(frozen=True, slots=True)
class Load:
    """The forecast of one rhythm of one device."""

    device: str
    period_s: float
    points: int
    requests: int
    wire_s: float
    """Time on the wire per round: characters, silences, the device's turnaround."""

    @property
    def share(self) -> float:
        """Share of the wire's time, 1.0 is all of it."""
        return self.wire_s / self.period_s


def forecast(
    name: str, device: Device, every_s: Mapping[str, float], *, char_s: float, silence_s: float
) -> Sequence[Load]:
    """Return the load of each rhythm of a device, the fastest first."""
    wait_s = silence_s + TURNAROUND_S if char_s else TCP_ROUND_TRIP_S
    loads = []
    for period_s, points in by_period(every_s).items():
        requests = device.plan(points)
        costs = [device.cost(r) for r in requests]
        wire_s = sum((c.request_bytes + c.reply_bytes) * char_s + wait_s for c in costs)
        loads.append(Load(name, period_s, len(points), len(requests), wire_s))
    return loads
