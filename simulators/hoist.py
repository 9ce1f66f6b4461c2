"""A construction hoist: the cage goes to a floor, people step in and out, and it goes on.

The figures have the shape of a common SC200 hoist with one cage; they are no maker's data.
"""

from __future__ import annotations

from simulators.chance import stream

SPEED_M_S = 0.6
STOREY_M = 3.0
FLOORS = 14
RATED_T = 2.0
PERSON_T = 0.075
MOST_PERSONS = 9
STOP_WIND_M_S = 20.0
WARN_OVERLOAD, WARN_WIND = 1 << 0, 1 << 1


class Hoist:
    """Position, load and power of one cage."""

    def __init__(self, seed: int, number: int = 1) -> None:
        self._rng = stream(seed, f"hoist{number}")
        self.height_m = 0.0
        self.speed_m_s = 0.0
        self.persons = 0
        self.material_t = 0.0
        self.wind_m_s = 0.0
        self._target_m = 0.0
        self._stay_s = 0.0
        self.operating_hours_h = 900.0 + self._rng.uniform(0.0, 400.0)
        self.power_w = 700.0

    @property
    def moving(self) -> bool:
        """True between two floors."""
        return self.height_m != self._target_m

    @property
    def floor(self) -> int:
        """The floor that is nearest; 1 is the ground."""
        return 1 + round(self.height_m / STOREY_M)

    @property
    def load_t(self) -> float:
        """People and material."""
        return self.persons * PERSON_T + self.material_t

    @property
    def load_pct(self) -> float:
        """Load as a share of what is permitted."""
        return 100.0 * self.load_t / RATED_T

    @property
    def warning_bits(self) -> int:
        """What the cage's own safety computer warns of."""
        return (WARN_OVERLOAD if self.load_t > RATED_T else 0) | (WARN_WIND if self.wind_m_s >= STOP_WIND_M_S else 0)

    def step(self, activity: float, wind_m_s: float) -> None:
        """Move on by one second; ``activity`` 0 to 1 says how busy the site is."""
        self.wind_m_s = 1.2 * wind_m_s
        self.speed_m_s = 0.0
        if self.moving:
            self.speed_m_s = max(-SPEED_M_S, min(SPEED_M_S, self._target_m - self.height_m))
            self.height_m += self.speed_m_s
            self.operating_hours_h += 1.0 / 3600.0
            self._stay_s = 20.0
        elif self._stay_s > 0.0:
            self._stay_s -= 1.0
        elif self._rng.random() < activity / 40.0 and self.wind_m_s < STOP_WIND_M_S:
            self._load_and_go()
        elif not activity:
            self.persons, self.material_t = 0, 0.0
        # A counterweight carries half of the rated load, so going down costs as much as it brings.
        lift_w = (0.9 + self.load_t) * 9810.0 * abs(self.speed_m_s) * (1.0 if self.speed_m_s > 0.0 else 0.6)
        self.power_w = (700.0 + lift_w / 0.75) * self._rng.uniform(0.97, 1.03)

    def _load_and_go(self) -> None:
        up = self.height_m == 0.0
        self._target_m = STOREY_M * self._rng.randint(2, FLOORS) if up else 0.0
        self.persons = self._rng.randint(1, MOST_PERSONS)
        self.material_t = self._rng.triangular(0.0, RATED_T - MOST_PERSONS * PERSON_T, 0.5) if up else 0.0
