"""The wheel wash at the gate: it sprays while a lorry stands in it and uses most of its water again."""

from __future__ import annotations

from simulators.chance import Lag, stream

FLOW_M3_H = 15.0
FRESH_SHARE = 0.2
BASIN_M3 = 12.0
SETTLED_M3_H = 9.0
"""So much water flows back from the settling basin in an hour."""


class WheelWash:
    """State of one wash bay, second by second."""

    def __init__(self, seed: int) -> None:
        rng = stream(seed, "wash")
        self.spraying = False
        self._pump = Lag(2.0)
        self._basin_m3 = BASIN_M3 * rng.uniform(0.75, 0.95)
        self.vehicles = rng.randint(2_000, 4_000)
        self.recycled_m3 = 0.35 * self.vehicles
        self.water_m3 = self.recycled_m3 / (1.0 - FRESH_SHARE)
        self.operating_hours_h = self.vehicles / 90.0

    @property
    def flow_m3_h(self) -> float:
        """Through the nozzles."""
        return FLOW_M3_H * self._pump.value if self._pump.value > 0.01 else 0.0

    @property
    def pressure_mpa(self) -> float:
        """Before the nozzles."""
        return 0.02 + 0.55 * self._pump.value

    @property
    def basin_pct(self) -> float:
        """Water that waits to be used again."""
        return 100.0 * self._basin_m3 / BASIN_M3

    def step(self, *, lorry: bool) -> None:
        """Move on by one second; ``lorry``: one stands in the bay."""
        if self.spraying and not lorry:
            self.vehicles += 1
        self.spraying = lorry
        self._pump.step(float(lorry))
        used = self.flow_m3_h / 3600.0
        recycled = min(self._basin_m3, used * (1.0 - FRESH_SHARE))
        self._basin_m3 = min(BASIN_M3, self._basin_m3 - recycled + SETTLED_M3_H / 3600.0)
        self.water_m3 += used
        self.recycled_m3 += recycled
        self.operating_hours_h += self.spraying / 3600.0
