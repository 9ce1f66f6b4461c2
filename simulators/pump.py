"""A concrete pump: off, waiting for the next mixer, or pumping."""

from __future__ import annotations

from simulators.chance import Lag, stream
from simulators.machine_state import MachineState

OUTPUT_M3_H = 42.0
WORKING_MPA = 11.0
WAITING_MPA = 1.2


class ConcretePump:
    """What the pump's own controller shows. Its power is that of its feeder."""

    def __init__(self, seed: int, number: int = 1) -> None:
        rng = stream(seed, f"pump{number}")
        self.state = MachineState.OFF
        self._pressure = Lag(3.0)
        self._oil = Lag(900.0, 22.0)
        self.flow_m3_h = 0.0
        self.operating_hours_h = rng.uniform(400.0, 900.0)
        self.pumped_m3 = 0.6 * OUTPUT_M3_H * self.operating_hours_h

    @property
    def pressure_mpa(self) -> float:
        """In the hydraulic circuit."""
        return self._pressure.value

    @property
    def oil_c(self) -> float:
        """Hydraulic oil."""
        return self._oil.value

    def step(self, air_c: float, stroke: float, *, pouring: bool, pumping: bool) -> None:
        """Move on by one second; ``stroke`` is how hard it works, around 1."""
        self.state = MachineState.WORKING if pumping else MachineState.IDLE if pouring else MachineState.OFF
        wanted_mpa = WORKING_MPA * stroke if pumping else WAITING_MPA if pouring else 0.0
        self._pressure.step(max(0.0, wanted_mpa))
        self.flow_m3_h = OUTPUT_M3_H * max(0.0, stroke) if pumping else 0.0
        self.pumped_m3 += self.flow_m3_h / 3600.0
        self._oil.step(air_c + (38.0 if pumping else 15.0 if pouring else 0.0))
        self.operating_hours_h += pouring / 3600.0
