"""What rules on a device's state look at: silent, stuck, beyond its range, with a clock of its own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway.alerts.rule import Condition
from gateway.alerts.state import DeviceState
from gateway.ledger.minute import Minute
from gateway.model import DeviceHealth, Readings
from gateway.vocabulary import METRICS, Domain, Kind

_SILENT = frozenset({"silent", "refused", "link_down"})
_CLOCK_MS = 60_000
_FRESH_MS = 60_000
_FEW_READINGS = 3
"""A minute with fewer cannot show that a value stands still."""
_LEAST_MINUTES = 2
"""Many sensors average over a minute and say it several times: that alone is no standing still."""


@dataclass(slots=True)
class _Still:
    value: float
    since_ms: int
    minutes: int = 1


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
        if known is None or known.domain not in (Domain.AIR, Domain.NOISE) or known.kind is Kind.STATE:
            return
        of_device = self._still.setdefault(minute.device, {})
        before = of_device.get(minute.metric)
        if minute.low is None or minute.low != minute.high or minute.count < _FEW_READINGS:
            of_device.pop(minute.metric, None)
        elif before is None or before.value != minute.low:
            of_device[minute.metric] = _Still(minute.low, minute.start_ms)
        else:
            before.minutes += 1

    def of(self, device: str) -> dict[str, int]:
        """Metric -> since when it has stood still."""
        known = self._still.get(device, {})
        return {metric: still.since_ms for metric, still in known.items() if still.minutes >= _LEAST_MINUTES}


class Conditions:
    """What is known of every device's condition; looked at once a second, and told of by others in between."""

    def __init__(
        self,
        health: Mapping[str, DeviceHealth],
        newest_ms: Callable[[str], int | None],
        wall_ms: Callable[[], int],
    ) -> None:
        """``newest_ms`` gives the stamp of a device's newest record, for ``clock``."""
        self._health = health
        self._newest_ms = newest_ms
        self._wall_ms = wall_ms
        self._stuck = Stuck()
        self._above: dict[str, dict[tuple[str, ...], tuple[str, ...]]] = {}
        """Device -> kind of record -> what of it was more than can be measured the last time."""
        self._told: dict[tuple[str, Condition], dict[str, str]] = {}
        """Device and condition -> what of it is concerned -> why."""

    def note(self, minute: Minute) -> None:
        """Take a closed minute."""
        self._stuck.note(minute)

    def see(self, readings: Readings) -> None:
        """Take a record from the pipeline; what is late is no sign of now."""
        if readings.above:
            if abs(self._wall_ms() - readings.time_ms) > _FRESH_MS:
                return
            names = tuple(readings.metrics[position] for position in readings.above)
            self._above.setdefault(readings.device, {})[readings.metrics] = names
        elif (known := self._above.get(readings.device)) and readings.good_count and readings.metrics in known:
            known[readings.metrics] = ()

    def tell(self, device: str, condition: Condition, what: str, why: str | None) -> None:
        """Somebody else knows of one thing of a device (``what``) why a condition holds for it; None: it does not."""
        told = self._told.setdefault((device, condition), {})
        if why is None:
            told.pop(what, None)
        else:
            told[what] = why

    def of(self, device: str, condition: Condition, now_ms: int) -> DeviceState | None:
        """Say whether a condition holds for a device; None while that is not known, so that a restart ends nothing."""
        why = self._why(device, condition)
        return None if why is None else DeviceState(device, condition, why.holds, now_ms, why.note if why.holds else "")

    def _why(self, device: str, condition: Condition) -> _Why | None:
        health = self._health[device]
        if condition == "silent":
            silent = _Why(health.state in _SILENT, health.last_error or "")
            return None if health.state == "waiting" else silent
        if condition == "stuck":
            still = self._stuck.of(device)
            return _Why(bool(still), ", ".join(sorted(still))) if device in self._stuck.heard else None
        if condition == "clock":
            return _clock(health.last_answer_ms, self._newest_ms(device))
        if condition == "over_range":
            names = sorted({name for kind in self._above.get(device, {}).values() for name in kind})
            return _Why(bool(names), ", ".join(names)) if health.last_answer_ms is not None else None
        told = self._told.get((device, condition))
        return None if told is None else _Why(bool(told), "; ".join(told.values()))


class _Why(NamedTuple):
    holds: bool
    note: str


def _clock(answered_ms: int | None, stamp_ms: int | None) -> _Why | None:
    if answered_ms is None or stamp_ms is None:
        return None
    off_ms = stamp_ms - answered_ms
    note = f"its stamps are {abs(off_ms) // 1000} s {'ahead' if off_ms > 0 else 'behind'}"
    return _Why(abs(off_ms) > _CLOCK_MS, note)
