"""The electrical-safety box of a distribution board: residual current, and a probe on each conductor."""

from __future__ import annotations

from simulators.chance import Lag
from simulators.feeder import Feeder

K_PER_A2 = 3.2e-4
"""So much warmer than the air is a conductor for each ampere squared."""


class SafetyBox:
    """Temperatures follow the currents of one feeder with the delay of copper and insulation."""

    def __init__(self) -> None:
        self._conductors = [Lag(600.0, 25.0) for _ in range(4)]
        self._air = Lag(1_800.0, 25.0)

    @property
    def phase_c(self) -> tuple[float, ...]:
        """L1, L2, L3 and N."""
        return tuple(each.value for each in self._conductors)

    @property
    def air_c(self) -> float:
        """Inside the cabinet."""
        return self._air.value

    def step(self, feeder: Feeder, air_c: float) -> None:
        """Move on by one second."""
        inside_c = self._air.step(air_c + 6.0)
        amps = [feeder.current_a(phase) for phase in range(3)]
        neutral_a = max(amps) - min(amps)
        for conductor, current_a in zip(self._conductors, (*amps, neutral_a), strict=True):
            conductor.step(inside_c + min(45.0, K_PER_A2 * current_a * current_a))
