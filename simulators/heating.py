"""Warmth of the living quarters, second by second: a gas boiler, its heating circuit, and the canteen's stoves."""

from __future__ import annotations

from simulators.chance import Bursts, Drift, stream

LOSS_W_PER_K = 2_400.0
ROOM_C = 19.0
HOT_WATER_W = 6_000.0
"""Showers and kitchens, all year."""
WATER_KWH_PER_M3_K = 1.163
GAS_KWH_PER_M3 = 9.9
BOILER_EFFICIENCY = 0.92
STOVES_M3_H = 3.2


class Heating:
    """A heat meter in the circuit and a gas meter before boiler and stoves see the same warmth."""

    def __init__(self, seed: int) -> None:
        self._people = Drift(stream(seed, "heating"), 300.0, 0.15)
        self._stoves = Bursts(stream(seed, "stoves"), 600.0, 2400.0)
        self.power_w = 0.0
        self.flow_m3_h = 0.0
        self.supply_c = 45.0
        self.return_c = 35.0
        self.heat_kwh = 64_000.0
        self.circulated_m3 = 5_200.0
        self.gas_m3 = 7_900.0

    def step(self, hour: float, air_temperature_c: float) -> None:
        """Move on by one second."""
        wanted_w = HOT_WATER_W + LOSS_W_PER_K * max(0.0, ROOM_C - air_temperature_c)
        self.power_w = wanted_w * max(0.3, 1.0 + self._people.step())
        self.supply_c = min(80.0, 42.0 + self.power_w / 2_500.0)
        spread_k = 8.0 + self.power_w / 10_000.0
        self.return_c = self.supply_c - spread_k
        self.flow_m3_h = self.power_w / 1000.0 / (WATER_KWH_PER_M3_K * spread_k)
        meals = 5.5 <= hour < 7.0 or 10.5 <= hour < 12.5 or 16.5 <= hour < 18.5
        cooking = self._stoves.step(1.0 / 300.0 if meals else 0.0)
        gas_m3_h = self.power_w / 1000.0 / (GAS_KWH_PER_M3 * BOILER_EFFICIENCY) + STOVES_M3_H * cooking
        self.heat_kwh += self.power_w / 3_600_000.0
        self.circulated_m3 += self.flow_m3_h / 3600.0
        self.gas_m3 += gas_m3_h / 3600.0
