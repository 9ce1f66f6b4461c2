"""Electricity behind one meter: powers, voltages and currents that fit together, and energies that integrate them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simulators.chance import Drift, Lag, stream

KWH_PER_WS = 1.0 / 3_600_000.0
LOSSES = 0.015
"""Share of the zones' power that is lost in cables between them and the main meter."""


def tariff(hour: float) -> int:
    """Return the tariff in force: 0 sharp, 1 peak, 2 flat, 3 valley. An example, no utility's price list."""
    if 18.0 <= hour < 22.0:
        return 0
    if 10.0 <= hour < 12.0 or 14.0 <= hour < 18.0:
        return 1
    return 3 if hour >= 23.0 or hour < 7.0 else 2


class Feeder:
    """Three phases (or one) of one zone. After ``set_load`` everything is consistent: S² = P² + Q², I = S / U."""

    def __init__(self, seed: int, name: str, *, power_factor: float, phases: int = 3, used_kwh: float) -> None:
        rng = stream(seed, f"feeder:{name}")
        self._power_factor = Drift(rng, 300.0, 0.015, power_factor)
        self._mean_power_factor = power_factor
        self._tilt = [Drift(rng, 900.0, 0.02) for _ in range(2)]
        self._lean = [rng.uniform(-0.04, 0.04) for _ in range(2)]
        self._phases = phases
        self._cable = Lag(600.0, 25.0)
        self._residual = Drift(rng, 120.0, 2.0)
        self.voltage_v = [230.0, 230.0, 230.0]
        self.power_w = [0.0, 0.0, 0.0]
        self.reactive_var = [0.0, 0.0, 0.0]
        used = used_kwh * rng.uniform(0.9, 1.1)
        self.energy_kwh = [used * share for share in ((1.0, 0.0, 0.0) if phases == 1 else (0.34, 0.33, 0.33))]
        self.tariff_kwh = [used * share for share in (0.17, 0.32, 0.30, 0.21)]
        self.reactive_kvarh = 0.4 * used
        self.cable_temperature_c = 25.0
        self.residual_current_ma = 10.0

    @property
    def total_w(self) -> float:
        """Active power of all phases."""
        return sum(self.power_w)

    @property
    def total_kwh(self) -> float:
        """Energy taken since the meter was new."""
        return sum(self.energy_kwh)

    def apparent_va(self, phase: int) -> float:
        """Apparent power of one phase."""
        return math.hypot(self.power_w[phase], self.reactive_var[phase])

    def current_a(self, phase: int) -> float:
        """Current of one phase."""
        return self.apparent_va(phase) / self.voltage_v[phase]

    def set_load(self, watts: float, voltage_v: Sequence[float], hour: float, air_c: float) -> None:
        """Draw ``watts`` for one second."""
        factor = min(0.995, max(0.5, self._power_factor.step(self._mean_power_factor)))
        tangent = math.sqrt(1.0 / (factor * factor) - 1.0)
        if self._phases == 1:
            shares = [1.0, 0.0, 0.0]
        else:
            first = 1.0 / 3.0 + self._lean[0] + self._tilt[0].step()
            second = 1.0 / 3.0 + self._lean[1] + self._tilt[1].step()
            shares = [first, second, 1.0 - first - second]
        powers = [watts * share for share in shares]
        self._draw(powers, [power * tangent for power in powers], voltage_v, hour, air_c)

    def set_sum(self, zones: Sequence[Feeder], voltage_v: Sequence[float], hour: float, air_c: float) -> None:
        """Draw what the zones draw, and the losses on the way to them, for one second."""
        more = 1.0 + LOSSES
        powers = [more * sum(zone.power_w[phase] for zone in zones) for phase in range(3)]
        reactive = [more * sum(zone.reactive_var[phase] for zone in zones) for phase in range(3)]
        self._draw(powers, reactive, voltage_v, hour, air_c)

    def _draw(
        self,
        powers: list[float],
        reactive: list[float],
        voltage_v: Sequence[float],
        hour: float,
        air_c: float,
    ) -> None:
        self.power_w, self.reactive_var = powers, reactive
        # The longer the way from the transformer, the deeper each phase sags under its own load.
        self.voltage_v = [v - 0.00004 * p for v, p in zip(voltage_v, powers, strict=True)]
        for phase in range(3):
            self.energy_kwh[phase] += powers[phase] * KWH_PER_WS
        total = sum(powers)
        self.tariff_kwh[tariff(hour)] += total * KWH_PER_WS
        self.reactive_kvarh += sum(reactive) * KWH_PER_WS
        worst_a = max(self.current_a(phase) for phase in range(3))
        self.cable_temperature_c = self._cable.step(air_c + 0.16 * worst_a)
        self.residual_current_ma = max(2.0, 8.0 + 0.08 * worst_a + self._residual.step())
