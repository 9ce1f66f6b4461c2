"""The newest record of every device, for page, /metrics and live events. Costs one dict store per record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.model import Mark, Readings

AHEAD_MS = 60_000
"""Clocks of devices may be so far ahead of ours."""


@dataclass(frozen=True, slots=True)
class LatestValue:
    """The newest reading of one series."""

    device: str
    metric: str
    value: float | None
    """None unless the mark is GOOD: an old value is never shown as a new one."""
    mark: str
    time_ms: int
    last_good_ms: int | None
    """When it was last good; equals time_ms if it is good now."""


class Latest:
    """Keeps records whole and opens them only when somebody looks.

    ``wall_ms`` tells the time: after our clock was set back, what is stamped later than now is no longer the newest.
    """

    def __init__(self, wall_ms: Callable[[], int] = lambda: 2**53) -> None:
        self._wall_ms = wall_ms
        self._newest: dict[tuple[str, tuple[str, ...]], Readings] = {}
        self._last_good_ms: dict[tuple[str, str], int] = {}
        self.records = 0
        """Records seen since the start."""
        self.good_values = 0
        self.bad_values = 0

    def put(self, readings: Readings) -> None:
        """Take a record; late ones (older than what is known) count but do not replace."""
        key = (readings.device, readings.metrics)
        before = self._newest.get(key)
        good = readings.good_count
        self.records += 1
        self.good_values += good
        self.bad_values += len(readings.marks) - good
        if before is not None:
            if before.time_ms > readings.time_ms and before.time_ms <= self._wall_ms() + AHEAD_MS:
                return
            if good != len(readings.marks):
                self._remember_good(before)
        self._newest[key] = readings

    def _remember_good(self, readings: Readings) -> None:
        for metric, mark in zip(readings.metrics, readings.marks, strict=True):
            if mark == Mark.GOOD:
                self._last_good_ms[readings.device, metric] = readings.time_ms

    def values(self, device: str | None = None) -> Iterator[LatestValue]:
        """All newest values (of one device). A metric that comes in two kinds of answer is given once, the newer."""
        seen: dict[tuple[str, str], LatestValue] = {}
        ranks: dict[tuple[str, str], tuple[bool, int]] = {}
        latest_ms = self._wall_ms() + AHEAD_MS
        for readings in list(self._newest.values()):
            if device is not None and readings.device != device:
                continue
            rank = (readings.time_ms <= latest_ms, readings.time_ms)
            for metric, value, mark in zip(readings.metrics, readings.values, readings.marks, strict=True):
                key = (readings.device, metric)
                if ranks.setdefault(key, rank) > rank:
                    continue
                ranks[key] = rank
                last_good = readings.time_ms if mark == Mark.GOOD else self._last_good_ms.get(key)
                seen[key] = LatestValue(readings.device, metric, value, mark, readings.time_ms, last_good)
        yield from seen.values()

    def newest_ms(self, device: str) -> int | None:
        """Time of the newest record of a device."""
        times = [r.time_ms for r in self._newest.values() if r.device == device]
        return max(times, default=None)
