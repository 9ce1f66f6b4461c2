"""What a wire will have to carry, before any device is touched, and what to change when that is too much. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.api import Device
from gateway.links.schedule import by_period

TURNAROUND_S = 0.02
"""Time that a device needs before it answers: 20 ms is the shortest that DL/T 645 allows and common for Modbus."""
TCP_ROUND_TRIP_S = 0.005
FULL = 0.9
"""A wire that is planned to be busier than this has no room for retries and late devices."""
_PERIODS = (0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
_MUCH_SLOWER = 10
"""One device alone is not made slower than by this."""


@dataclass(frozen=True, slots=True)
class Load:
    """The forecast of one rhythm of one device."""

    device: str
    period_s: float
    points: int
    requests: int
    wire_bytes: int
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
        wire_bytes = sum(c.request_bytes + c.reply_bytes for c in costs)
        wire_s = wire_bytes * char_s + len(requests) * wait_s
        loads.append(Load(name, period_s, len(points), len(requests), wire_bytes, wire_s))
    return loads


def share_of(loads: Sequence[Load]) -> float:
    """Return the share of the wire's time that all of these take together."""
    return sum(load.share for load in loads)


def at_speed(loads: Sequence[Load], *, char_s: float, silence_s: float) -> float:
    """Return the share that these loads would take on a serial line of another speed."""
    wait_s = silence_s + TURNAROUND_S
    return sum((load.wire_bytes * char_s + load.requests * wait_s) / load.period_s for load in loads)


def slower(loads: Sequence[Load]) -> dict[str, float]:
    """Return which devices to read more rarely, and how often (``every``, s), so that the wire has room again.

    The one that takes most of the wire, if that is enough; else all of them in proportion. {} when there is room.
    """
    if share_of(loads) <= FULL:
        return {}
    by_device = _shares(loads)
    fastest = {name: min(load.period_s for load in loads if load.device == name) for name in by_device}
    greedy = max(by_device, key=by_device.__getitem__)
    for period_s in _PERIODS:
        if period_s <= _MUCH_SLOWER * fastest[greedy] and _share_with(loads, {greedy: period_s}) <= FULL:
            return {greedy: period_s}
    times = 1.0
    while True:
        times *= 1.25
        every_s = {name: _round_up(period_s * times) for name, period_s in fastest.items()}
        if _share_with(loads, every_s) <= FULL:
            return every_s


def split(loads: Sequence[Load]) -> list[list[str]]:
    """Return the devices distributed over as few wires as have room for them, the greediest first.

    [] when a single device is too much for any wire.
    """
    wires: list[tuple[float, list[str]]] = []
    for name, share in sorted(_shares(loads).items(), key=lambda item: -item[1]):
        if share > FULL:
            return []
        for i, (taken, names) in enumerate(wires):
            if taken + share <= FULL:
                wires[i] = (taken + share, [*names, name])
                break
        else:
            wires.append((share, [name]))
    return [names for _, names in wires]


def _shares(loads: Sequence[Load]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for load in loads:
        shares[load.device] = shares.get(load.device, 0.0) + load.share
    return shares


def _share_with(loads: Sequence[Load], every_s: Mapping[str, float]) -> float:
    """The share when these devices are read no more often than this."""
    return sum(load.wire_s / max(load.period_s, every_s.get(load.device, 0.0)) for load in loads)


def _round_up(period_s: float) -> float:
    """The next period that a person would write."""
    return next((p for p in _PERIODS if p >= period_s), math.ceil(period_s / 3600) * 3600.0)
