"""A tower crane at work: a queue of legs that hook, trolley and jib follow at their own speeds.

The figures have the shape of a common 1000 kN·m crane; they are no maker's data.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from simulators.chance import stream

HOIST_M_S, TROLLEY_M_S, SLEW_DEG_S = 0.8, 0.6, 3.0
HOOK_T = 0.4
STOP_WIND_M_S = 12.0
WARN_WIND, WARN_OVERLOAD, WARN_MOMENT = 1 << 0, 1 << 1, 1 << 3
"""Warning bits as the Yunzhu uplink numbers them."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One part of a lift: where to go, with what on the hook, and how long to stay there."""

    height_m: float
    radius_m: float
    slewing_deg: float
    load_t: float
    stay_s: float


def rated_load_t(radius_m: float) -> float:
    """Return what the crane may lift at this radius."""
    return min(8.0, 110.0 / radius_m)


class TowerCrane:
    """Position, load and power of one crane."""

    def __init__(self, seed: int, number: int = 1) -> None:
        self._rng = stream(seed, f"crane{number}")
        self._legs: deque[Leg] = deque()
        self._stay_s = 0.0
        self.height_m, self.radius_m, self.slewing_deg = 12.0, 25.0, 70.0
        self.load_t = 0.0
        self.power_w = 2500.0
        self.wind_m_s = 0.0
        self.operating_hours_h = 1820.0 + self._rng.uniform(0.0, 900.0)

    @property
    def working(self) -> bool:
        """True during a lift."""
        return bool(self._legs)

    @property
    def moment_pct(self) -> float:
        """Load as a share of what is permitted at this radius."""
        return 100.0 * self.load_t / rated_load_t(self.radius_m)

    @property
    def tilt_deg(self) -> float:
        """Lean of the mast towards load and wind."""
        return 0.05 + 0.0035 * self.load_t * self.radius_m / 10.0 + 0.01 * self.wind_m_s

    @property
    def warning_bits(self) -> int:
        """What the crane's own safety computer warns of."""
        bits = WARN_WIND if self.wind_m_s >= 10.8 else 0
        bits |= WARN_OVERLOAD if self.moment_pct > 100.0 else 0
        return bits | (WARN_MOMENT if self.moment_pct >= 90.0 else 0)

    def step(self, activity: float, wind_m_s: float) -> None:
        """Move on by one second; ``activity`` 0 to 1 says how busy the site is, the wind is that at the gate."""
        self.wind_m_s = 1.35 * wind_m_s
        start = self._rng.random() < activity / 40.0
        if not self._legs and start and self.wind_m_s < STOP_WIND_M_S:
            self._legs.extend(self._plan_lift())
            self._stay_s = self._legs[0].stay_s
        hoisting = trolleying = slewing = 0.0
        if self._legs:
            leg = self._legs[0]
            hoisting = _towards(self.height_m, leg.height_m, HOIST_M_S)
            trolleying = _towards(self.radius_m, leg.radius_m, TROLLEY_M_S)
            slewing = _towards(self.slewing_deg, leg.slewing_deg, SLEW_DEG_S)
            self.height_m += hoisting
            self.radius_m += trolleying
            self.slewing_deg += slewing
            self.load_t = leg.load_t
            self.operating_hours_h += 1.0 / 3600.0
            if not (hoisting or trolleying or slewing):
                self._stay_s -= 1.0
                if self._stay_s <= 0.0:
                    self._legs.popleft()
                    self._stay_s = self._legs[0].stay_s if self._legs else 0.0
        lift_w = (self.load_t + HOOK_T) * 9810.0 * hoisting / 0.8
        self.power_w = (
            2500.0
            + (lift_w if lift_w > 0.0 else -0.12 * lift_w)  # going down, the drive brakes and heats its resistors
            + (9000.0 + 900.0 * self.load_t) * abs(slewing) / SLEW_DEG_S
            + 3500.0 * abs(trolleying) / TROLLEY_M_S
        ) * self._rng.uniform(0.97, 1.03)

    def _plan_lift(self) -> list[Leg]:
        """From the storage yard over the building to a floor, and back with the empty hook."""
        chance = self._rng.uniform
        yard_m, yard_deg = chance(24.0, 40.0), chance(60.0, 85.0)
        floor_m, drop_m, drop_deg = chance(18.0, 36.0), chance(12.0, 45.0), chance(150.0, 300.0)
        over_m = floor_m + chance(6.0, 10.0)
        load_t = min(rated_load_t(yard_m), rated_load_t(drop_m)) * self._rng.triangular(0.12, 0.97, 0.55)
        return [
            Leg(1.5, yard_m, yard_deg, 0.0, 5.0),
            Leg(1.5, yard_m, yard_deg, load_t, chance(6.0, 15.0)),
            Leg(over_m, yard_m, yard_deg, load_t, 0.0),
            Leg(over_m, drop_m, drop_deg, load_t, 2.0),
            Leg(floor_m, drop_m, drop_deg, load_t, chance(10.0, 30.0)),
            Leg(floor_m, drop_m, drop_deg, 0.0, 5.0),
            Leg(over_m, drop_m, drop_deg, 0.0, 0.0),
            Leg(over_m, yard_m, yard_deg, 0.0, 0.0),
        ]


def _towards(now: float, target: float, most: float) -> float:
    """Return the way to go in this second."""
    return max(-most, min(most, target - now))
