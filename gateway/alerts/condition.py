"""What rules on a device's state look at: silent, stuck, or with a clock of its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.alerts.rule import Condition
from gateway.alerts.state import DeviceState
from gateway.ledger.minute import Minute
from gateway.model import DeviceHealth
from gateway.vocabulary import METRICS, Domain

_SILENT = frozenset({"silent", "refused", "link_down"})
_CLOCK_MS = 60_000
_FEW_READINGS = 3
"""A minute with fewer cannot show that a value stands still."""


@dataclass(slots=True)
class _Still:
    value: float
    since_ms: int


class Stuck:
    """Follows which dust and noise values have not moved at all: those of a working sensor always do.

    Weather is left out: wind at 0 m/s and humidity at 100 % can really stand still for a night.
    """

    def __init__(self) -> None:
        self._still: dict[str, dict[str, _Still]] = {}
        self.heard: set[str] = set()
        """Devices of which there was a minute since the start."""

    def note(self, minute: Minute) -> None:
        """Take a closed minute."""
        self.heard.add(minute.device)
        known = METRICS.get(minute.metric)
        if known is None or known.domain not in (Domain.AIR, Domain.NOISE):
            return
        of_device = self._still.setdefault(minute.device, {})
        before = of_device.get(minute.metric)
        if minute.low is None or minute.low != minute.high or minute.count < _FEW_READINGS:
            of_device.pop(minute.metric, None)
        elif before is None or before.value != minute.low:
            of_device[minute.metric] = _Still(minute.low, minute.start_ms)

    def of(self, device: str) -> dict[str, int]:
        """Metric -> since when it has stood still."""
        return {metric: still.since_ms for metric, still in self._still.get(device, {}).items()}


def device_state(
    condition: Condition, health: DeviceHealth, stuck: Stuck, newest_ms: int | None, now_ms: int
) -> DeviceState | None:
    """Say whether a condition holds for a device now; None while that is not known, so that a restart ends nothing.

    ``newest_ms``: stamp of its newest record, for ``clock``.
    """
    holds, note = False, ""
    if condition == "silent":
        if health.state == "waiting":
            return None
        holds, note = health.state in _SILENT, health.last_error or ""
    elif condition == "stuck":
        if health.name not in stuck.heard:
            return None
        still = stuck.of(health.name)
        holds, note = bool(still), ", ".join(sorted(still))
    else:
        if health.last_answer_ms is None or newest_ms is None:
            return None
        off_ms = newest_ms - health.last_answer_ms
        holds = abs(off_ms) > _CLOCK_MS
        note = f"its stamps are {abs(off_ms) // 1000} s {'ahead' if off_ms > 0 else 'behind'}"
    return DeviceState(health.name, condition, holds, now_ms, note if holds else "")
