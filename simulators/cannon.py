"""A fog cannon: pump, fan and tank. Whoever commands it sets ``wanted``; the machine does what its tank allows."""

from __future__ import annotations

from simulators.chance import Lag, stream

TANK_M3 = 5.0
FLOW_M3_H = 4.8
REFILL_M3_H = 6.0
POWER_W = 22_000.0


class FogCannon:
    """State of one cannon, second by second."""

    def __init__(self, seed: int, number: int = 1, *, dry: bool = False) -> None:
        """``dry``: the tank is nearly empty, and nothing fills it."""
        rng = stream(seed, f"cannon{number}")
        self.wanted = False
        self.spraying = False
        self._tank_m3 = TANK_M3 * (0.04 if dry else rng.uniform(0.7, 0.95))
        self._inlet_closed = dry
        self._refilling = False
        self._pump = Lag(4.0)
        self.operating_hours_h = rng.uniform(150.0, 600.0)
        self.water_volume_m3 = FLOW_M3_H * self.operating_hours_h
        self.refill_m3_h = 0.0

    @property
    def tank_level_pct(self) -> float:
        """Water left."""
        return 100.0 * self._tank_m3 / TANK_M3

    @property
    def water_flow_m3_h(self) -> float:
        """Through the nozzles."""
        return FLOW_M3_H * self._pump.value if self._pump.value > 0.01 else 0.0

    @property
    def water_pressure_mpa(self) -> float:
        """Before the nozzles."""
        return 0.05 + 1.8 * self._pump.value

    @property
    def power_w(self) -> float:
        """Fan and pump."""
        return POWER_W * self._pump.value if self._pump.value > 0.01 else 0.0

    def step(self) -> None:
        """Move on by one second."""
        self.spraying = self.wanted and self._tank_m3 > 0.02 * TANK_M3
        self._pump.step(1.0 if self.spraying else 0.0)
        used = self.water_flow_m3_h / 3600.0
        # A float valve with hysteresis keeps the tank filled.
        self._refilling = self._tank_m3 < (0.97 if self._refilling else 0.7) * TANK_M3
        self.refill_m3_h = REFILL_M3_H if self._refilling and not self._inlet_closed else 0.0
        self._tank_m3 = min(TANK_M3, max(0.0, self._tank_m3 - used + self.refill_m3_h / 3600.0))
        self.water_volume_m3 += used
        self.operating_hours_h += self.spraying / 3600.0
