"""Which minutes wind or rain spoil for a noise verdict: kept and shown, but left out of it. Pure.

The wind at a crane's tip says nothing about a microphone at the fence: only weather stations are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.ledger.minute import Minute

WIND, RAIN = "wind_speed_m_s", "rain_mm"
_AMONG = "humidity_pct"
"""What makes a device with an anemometer a weather station."""
_MOST_MINUTES = 50_000


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """What a rule leaves out."""

    wind_below: float | None = None
    """m/s: minutes with as much wind or more."""
    dry_only: bool = False

    def __bool__(self) -> bool:
        return self.wind_below is not None or self.dry_only


class Weather:
    """Windy and wet minutes of the site, the newest 35 days of them."""

    def __init__(self, metrics: Mapping[str, Iterable[str]]) -> None:
        """``metrics`` is device -> its metrics."""
        known = {device: set(names) for device, names in metrics.items()}
        self.series = frozenset(
            (device, metric)
            for device, names in known.items()
            for metric in names & {WIND, RAIN}
            if metric == RAIN or _AMONG in names
        )
        """(device, metric) of what is asked."""
        self._wind: dict[int, float] = {}
        self._wet: dict[int, bool] = {}

    def note(self, minute: Minute) -> None:
        """Take a minute of one of ``series``; of several stations the windiest counts."""
        if minute.metric == WIND and minute.mean is not None:
            self._wind[minute.start_ms] = max(minute.mean, self._wind.get(minute.start_ms, 0.0))
        elif minute.metric == RAIN and minute.delta:
            self._wet[minute.start_ms] = True
        for kept in (self._wind, self._wet):
            if len(kept) > _MOST_MINUTES:
                del kept[min(kept)]

    def spoils(self, what: LeaveOut, start_ms: int) -> bool:
        """True when that minute does not count."""
        if what.dry_only and start_ms in self._wet:
            return True
        return what.wind_below is not None and self._wind.get(start_ms, 0.0) >= what.wind_below

    def spoilt(self, what: LeaveOut) -> set[int]:
        """Start of every minute that does not count."""
        return {ms for ms in self._wind.keys() | self._wet.keys() if self.spoils(what, ms)} if what else set()
