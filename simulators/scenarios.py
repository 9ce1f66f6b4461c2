"""The kinds of day that a simulated site can have, and what breaks on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from simulators.weather import DAY_S

UTC_OFFSET_MS = 8 * 3_600_000
"""Asia/Shanghai, which has no daylight saving time."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """Something that comes and goes by the clock, in seconds after the scenario's start."""

    first_s: float
    on_s: float
    every_s: float

    def on(self, second: float) -> bool:
        """Tell whether it is there at this second."""
        return second >= self.first_s and (second - self.first_s) % self.every_s < self.on_s


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of day."""

    name: str
    start: str
    """Local time of day at which it begins, HH:MM."""
    pours: tuple[tuple[float, float], ...] = ((9.25, 11.25), (14.5, 17.0))
    """Concrete pours: from and to, local hours; an end above 24 is on the next day."""
    pumping: Cycle | None = None
    """The strokes of the pump during a pour; None: by chance, for minutes."""
    pump_db: float = 65.0
    """Of the pump at work, at the gate."""
    earthworks: Cycle | None = None
    """Digging and loading near the gate. On such a day no timer sprays: only who commands the cannon."""
    wind_m_s: float = 2.2
    line_faults: bool = False
    """The serial lines are bad; the world itself is normal."""
    contact: Literal["sound", "stuck", "welded"] = "sound"
    """Of the relay that opens the cannon's valve. Stuck: it never closes; welded: once closed, it never opens."""
    dry_tank: bool = False
    """The cannon's tank is nearly empty and nobody fills it."""
    reboot_s: float | None = None
    """So long after the start the relay module loses its power for a moment."""
    mute_s: float | None = None
    """So long after the start the stations at the gate fall silent for good."""

    def start_ms(self, day_of_ms: int) -> int:
        """Return when this scenario begins on the local day that holds ``day_of_ms``."""
        midnight = (day_of_ms + UTC_OFFSET_MS) // (DAY_S * 1000) * DAY_S * 1000 - UTC_OFFSET_MS
        hours, minutes = self.start.split(":")
        return midnight + (int(hours) * 60 + int(minutes)) * 60_000


EARTHWORKS = Cycle(first_s=5.0, on_s=50.0, every_s=300.0)
"""A lorry is loaded every five minutes: long enough between for the dust to settle."""


MIXERS = Cycle(first_s=12.0, on_s=55.0, every_s=240.0)
"""One mixer lorry is emptied while the next is on its way."""
_DUST = Scenario("dust", "10:20", pours=((14.5, 17.0),), earthworks=EARTHWORKS, wind_m_s=4.6)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("normal", "09:40"),
        _DUST,
        Scenario("night-pour", "22:30", pours=((22.0, 28.5),), pumping=MIXERS, pump_db=74.0),
        Scenario("line-noise", "09:40", line_faults=True),
        replace(_DUST, name="stuck-relay", contact="stuck"),
        replace(_DUST, name="welded-relay", contact="welded"),
        replace(_DUST, name="dry-tank", dry_tank=True),
        replace(_DUST, name="relay-reboot", reboot_s=35.0),
        replace(_DUST, name="mute-sensor", mute_s=35.0),
    )
}
