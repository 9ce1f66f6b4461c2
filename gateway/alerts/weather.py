"""Which minutes wind, rain or a fog cannon spoil for a rule: kept and shown, but left out where it says so. Pure.

The wind at a crane's tip says nothing about a microphone at the fence: only weather stations are asked. What is sprayed
is one sensor, not the site.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.ledger.minute import Minute

WIND, RAIN, SPRAYED = "wind_speed_m_s", "rain_mm", "sprayed"
_AMONG = "humidity_pct"
"""What makes a device with an anemometer a weather station."""
_MOST_MINUTES = 50_000


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """What a rule leaves out."""

    wind_below: float | None = None
    """m/s: minutes with as much wind or more."""
    dry_only: bool = False
    sprayed: bool = False

    def __bool__(self) -> bool:
        return self != LeaveOut()


class Weather:
    """Windy and wet minutes of the site and the sprayed ones of each sensor, the newest 35 days of them."""

    def __init__(self, metrics: Mapping[str, Iterable[str]]) -> None:
        """``metrics`` is device -> its metrics."""
        known = {device: set(names) for device, names in metrics.items()}
        self.series = frozenset(
            (device, metric)
            for device, names in known.items()
            for metric in names & {WIND, RAIN, SPRAYED}
            if metric != WIND or _AMONG in names
        )
        """(device, metric) of what is asked."""
        self._wind: dict[int, float] = {}
        self._wet: dict[int, bool] = {}
        self._sprayed: dict[str, list[int]] = {device: [] for device, metric in self.series if metric == SPRAYED}
        """Starts of the minutes in which a cannon ran at any time, in order."""

    def note(self, minute: Minute) -> None:
        """Take a minute of one of ``series``; of several stations the windiest counts."""
        if minute.metric == SPRAYED:
            self._note_sprayed(self._sprayed[minute.device], minute)
        elif minute.metric == WIND and minute.mean is not None:
            self._wind[minute.start_ms] = max(minute.mean, self._wind.get(minute.start_ms, 0.0))
        elif minute.metric == RAIN and minute.delta:
            self._wet[minute.start_ms] = True
        for kept in (self._wind, self._wet):
            if len(kept) > _MOST_MINUTES:
                del kept[min(kept)]

    def _note_sprayed(self, starts: list[int], minute: Minute) -> None:
        at, start_ms = bisect_left(starts, minute.start_ms), minute.start_ms
        known = starts[at : at + 1] == [start_ms]
        if minute.high and not known:
            insort(starts, start_ms)
            del starts[:-_MOST_MINUTES]
        elif known and not minute.high:
            del starts[at]  # corrected

    def sprayed_minutes(self, device: str, start_ms: int, end_ms: int) -> int | None:
        """Return in how many minutes of a window a sensor was sprayed; None where no cannon is near."""
        starts = self._sprayed.get(device)
        return None if starts is None else bisect_left(starts, end_ms) - bisect_left(starts, start_ms)

    def spoils(self, what: LeaveOut, device: str, start_ms: int) -> bool:
        """True when that minute of a device does not count."""
        if what.dry_only and start_ms in self._wet:
            return True
        if what.sprayed and self.sprayed_minutes(device, start_ms, start_ms + 1):
            return True
        return what.wind_below is not None and self._wind.get(start_ms, 0.0) >= what.wind_below

    def spoilt(self, what: LeaveOut, device: str) -> set[int]:
        """Start of every minute of a device that does not count."""
        if not what:
            return set()
        of_device = self._sprayed.get(device, ())
        return {ms for ms in {*self._wind, *self._wet, *of_device} if self.spoils(what, device, ms)}
