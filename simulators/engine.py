"""A diesel engine and the two machines that have one: an excavator and a generator."""

from __future__ import annotations

from simulators.chance import Bursts, Drift, Lag, stream
from simulators.machine_state import MachineState

TANK_L = 300.0
IDLE_RPM = 900.0


class Engine:
    """Speed, temperatures, fuel and hours for a load of 0 to 1."""

    def __init__(self, seed: int, name: str, *, working_rpm: float, full_l_h: float) -> None:
        rng = stream(seed, f"engine:{name}")
        self._working_rpm, self._full_l_h = working_rpm, full_l_h
        self._speed = Lag(1.5)
        self._coolant = Lag(240.0, 20.0)
        self._tank_l = TANK_L * rng.uniform(0.5, 0.9)
        self.state = MachineState.OFF
        self.starts = rng.randint(300, 700)
        self.operating_hours_h = rng.uniform(1_500.0, 2_500.0)
        self.idle_hours_h = 0.3 * self.operating_hours_h
        self.fuel_used_l = 0.4 * full_l_h * self.operating_hours_h

    @property
    def runs(self) -> bool:
        """True while the crankshaft turns."""
        return self.state in (MachineState.IDLE, MachineState.WORKING)

    @property
    def speed_rpm(self) -> float:
        """Of the crankshaft."""
        return self._speed.value if self._speed.value > 1.0 else 0.0

    @property
    def coolant_c(self) -> float:
        """Cooling water."""
        return self._coolant.value

    @property
    def oil_kpa(self) -> float:
        """Oil pressure, which follows the speed."""
        return min(420.0, 0.25 * self.speed_rpm)

    @property
    def battery_v(self) -> float:
        """Higher while the alternator charges."""
        return 27.6 if self.runs else 25.2

    @property
    def fuel_pct(self) -> float:
        """Fuel left."""
        return 100.0 * self._tank_l / TANK_L

    def step(self, load: float, air_c: float, *, on: bool) -> None:
        """Move on by one second; ``on`` without fuel is an alarm."""
        ran = self.runs
        if not on:
            self.state = MachineState.OFF
        elif self._tank_l <= 0.0:
            self.state = MachineState.ALARM
        else:
            self.state = MachineState.WORKING if load > 0.0 else MachineState.IDLE
        self.starts += self.runs and not ran
        turning_rpm = self._working_rpm if self.state is MachineState.WORKING else IDLE_RPM
        self._speed.step(turning_rpm if self.runs else 0.0)
        self._coolant.step(84.0 + 8.0 * load if self.runs else air_c)
        used_l = min(self._tank_l, self._full_l_h * (0.15 + 0.85 * load) / 3600.0) if self.runs else 0.0
        self.fuel_used_l += used_l
        self._tank_l -= used_l
        if self._tank_l < 0.15 * TANK_L and not on:
            self._tank_l = 0.95 * TANK_L  # the fuel lorry comes when the machine rests
        self.operating_hours_h += self.runs / 3600.0
        self.idle_hours_h += (self.state is MachineState.IDLE) / 3600.0


class Excavator:
    """Digs when the earthworks want it, else now and then; between two loads it idles."""

    def __init__(self, seed: int, number: int = 1) -> None:
        self.engine = Engine(seed, f"excavator{number}", working_rpm=1_850.0, full_l_h=24.0)
        self._digs = Bursts(stream(seed, f"excavator{number}"), 40.0, 240.0)
        self._waits = Bursts(stream(seed, f"excavator{number}:on"), 600.0, 3_000.0)
        self._bucket = Drift(stream(seed, f"excavator{number}:bucket"), 6.0, 0.2, 0.65)
        self.load = 0.0

    def step(self, activity: float, digging: float, air_c: float) -> None:
        """Move on by one second; ``digging`` above 0: the earthworks go on."""
        digs = self._digs.step(activity / 120.0) or digging > 0.0
        on = self._waits.step(activity / 300.0) or digs
        bucket = min(1.0, max(0.2, self._bucket.step(0.65)))
        self.load = bucket if digs else 0.0
        self.engine.step(self.load, air_c, on=on)


class Generator:
    """Feeds welding sets and lamps that no cable reaches, while anybody works."""

    RATED_W = 60_000.0

    def __init__(self, seed: int, number: int = 1) -> None:
        self.engine = Engine(seed, f"generator{number}", working_rpm=1_500.0, full_l_h=16.0)
        self._demand = Drift(stream(seed, f"generator{number}"), 90.0, 0.12, 0.4)
        self.power_w = 0.0
        self.energy_kwh = 21_000.0

    def step(self, busy: float, air_c: float) -> None:
        """Move on by one second."""
        demand = min(0.95, max(0.1, self._demand.step(0.4)))
        load = demand if busy > 0.0 else 0.0
        self.engine.step(load, air_c, on=busy > 0.0)
        self.power_w = self.RATED_W * load if self.engine.runs else 0.0
        self.energy_kwh += self.power_w / 3_600_000.0
