"""One construction site, seeded: every simulated device shows a part of this one world.

The world moves in steps of one second of its own time, whatever the steps of its caller, so the same seed and
start give the same site at any speed. Its sources are shared: the lorry at the gate is dust, noise and wash water
at once, and the crane that lifts is power, energy and noise.
"""

from __future__ import annotations

from collections.abc import Mapping

from simulators.cannon import FogCannon
from simulators.chance import Bursts, Drift, stream
from simulators.crane import TowerCrane
from simulators.emissions import Dust, Noise
from simulators.engine import Excavator, Generator
from simulators.feeder import Feeder
from simulators.heating import Heating
from simulators.hoist import Hoist
from simulators.outputs import Outputs
from simulators.pump import ConcretePump
from simulators.safety_box import SafetyBox
from simulators.scenarios import UTC_OFFSET_MS, Scenario
from simulators.wash import WheelWash
from simulators.weather import DAY_S, Weather

STEP_MS = 1000
WARM_UP_MS = 900_000
"""The world runs a quarter of an hour before it is first looked at: dust in the air, the crane in mid-lift."""


def activity(hour: float) -> float:
    """Return how busy the site is at this local hour, 0 (night) to 1."""
    if 6.5 <= hour < 11.5 or 13.0 <= hour < 18.0:
        return 1.0
    if 11.5 <= hour < 13.0:
        return 0.15
    return 0.3 if 18.0 <= hour < 21.5 else 0.0


class World:
    """The state of everything on the site at ``now_ms``. Attributes are read by ``simulators.roles``."""

    def __init__(
        self, seed: int, start_ms: int, scenario: Scenario, outputs: Mapping[str, Outputs] | None = None
    ) -> None:
        """``outputs``: what the gateway switches, by the role of the device that it tells."""
        self.scenario = scenario
        self.outputs = {} if outputs is None else outputs
        self.contact_closed = False
        self.start_ms = start_ms
        self.now_ms = start_ms - WARM_UP_MS
        self.weather = Weather(seed, wind_m_s=scenario.wind_m_s, rain=scenario.earthworks is None)
        self.heating = Heating(seed)
        self.dust = Dust(seed)
        self.noise = Noise(seed)
        self.crane = TowerCrane(seed)
        self.cannon = FogCannon(seed, dry=scenario.dry_tank)
        self.hoist = Hoist(seed)
        self.pump = ConcretePump(seed)
        self.wash = WheelWash(seed)
        self.excavator = Excavator(seed)
        self.generator = Generator(seed)
        self.safety_box = SafetyBox()
        self.gust_m_s = 0.0
        self.frequency = Drift(stream(seed, "frequency"), 60.0, 0.012, 50.0)
        self.zones = {
            "tower-crane": Feeder(seed, "tower-crane", power_factor=0.78, used_kwh=41_000.0),
            "workshop": Feeder(seed, "workshop", power_factor=0.72, used_kwh=23_500.0),
            "concrete-pump": Feeder(seed, "concrete-pump", power_factor=0.84, used_kwh=17_800.0),
            "hoist": Feeder(seed, "hoist", power_factor=0.75, used_kwh=12_300.0),
            "living": Feeder(seed, "living", power_factor=0.95, used_kwh=58_000.0),
            "office": Feeder(seed, "office", power_factor=0.96, phases=1, used_kwh=14_200.0),
            "gate": Feeder(seed, "gate", power_factor=0.86, used_kwh=9_100.0),
        }
        self.main = Feeder(seed, "main", power_factor=0.85, used_kwh=179_000.0)
        self.water_volume_m3 = 21_400.0
        self.water_flow_m3_h = 0.0
        self.pouring = False
        self._pumping = Bursts(stream(seed, "pump"), 300.0, 540.0)
        self._pump_stroke = Drift(stream(seed, "stroke"), 4.0, 0.08)
        self._lorries = Bursts(stream(seed, "lorries"), 25.0, 55.0)
        self._cutting = Bursts(stream(seed, "cutting"), 20.0, 110.0)
        self._bending = Bursts(stream(seed, "bending"), 30.0, 200.0)
        self._hammering = Bursts(stream(seed, "hammering"), 5.0, 40.0)
        self._digging = Drift(stream(seed, "digging"), 40.0, 0.2)
        self._kettles = Drift(stream(seed, "kettles"), 240.0, 0.12)
        self._town = Drift(stream(seed, "town"), 300.0, 1.2)
        self._grid = [Drift(stream(seed, f"grid{phase}"), 120.0, 0.9) for phase in range(3)]
        self.advance(start_ms)

    def advance(self, to_ms: int) -> None:
        """Move on to the last whole step before or at ``to_ms``; a time in the past changes nothing."""
        while self.now_ms + STEP_MS <= to_ms:
            self._step()

    @property
    def hour(self) -> float:
        """Local time of day in hours."""
        return (self.now_ms + UTC_OFFSET_MS) // 1000 % DAY_S / 3600.0

    def _step(self) -> None:
        self.now_ms += STEP_MS
        hour = self.hour
        self.pouring = any(a <= hour < b or a <= hour + 24.0 < b for a, b in self.scenario.pours)
        busy = max(activity(hour), 0.5 * self.pouring)
        second = (self.now_ms - self.start_ms) / 1000.0
        digging = 0.0
        if self.scenario.earthworks is not None and self.scenario.earthworks.on(second):
            digging = max(0.3, 1.0 + self._digging.step()) * activity(hour)

        self.weather.step((self.now_ms + UTC_OFFSET_MS) // 1000)
        self.heating.step(hour, self.weather.air_temperature_c)
        wind = self.weather.wind_speed_m_s
        self.crane.step(busy, wind)
        pumping = self._pumping.step(1.0 / 90.0 if self.pouring else 0.0) and self.pouring
        if self.scenario.pumping is not None:
            pumping = self.pouring and self.scenario.pumping.on(second)
        self._lorries.step(busy / 360.0 + self.pouring / 420.0 + digging / 150.0)
        # Rebar is cut and bent by day only, whatever is poured at night.
        cutting = self._cutting.step(activity(hour) / 100.0)
        bending = self._bending.step(activity(hour) / 120.0)
        self.hoist.step(busy, wind)
        hammering = self._hammering.step(activity(hour) / 90.0)
        self._step_cannon(hour, second)
        stroke = 1.0 + self._pump_stroke.step()
        self._step_power(hour, stroke, pumping=pumping, cutting=cutting, bending=bending)
        self._step_dust(busy, digging, cutting=cutting)
        self._step_noise(hour, digging, pumping=pumping, cutting=cutting, hammering=hammering)
        self._step_machines(hour, digging, stroke, pumping=pumping)
        people = 0.9 + 2.2 * _peak(hour, 6.6, 1.0) + 3.0 * _peak(hour, 19.5, 2.0)
        curing_and_wash = 1.2 * activity(hour) + 3.0 * self._lorries.swell
        self.water_flow_m3_h = people + curing_and_wash + self.cannon.refill_m3_h
        self.water_volume_m3 += self.water_flow_m3_h / 3600.0

    def _step_cannon(self, hour: float, second: float) -> None:
        relay, own = self.outputs.get("relay:gate"), self.outputs.get("cannon:1")
        if relay is not None:
            if self.scenario.reboot_s is not None and second == self.scenario.reboot_s:
                relay.reboot()
            was_closed, self.contact_closed = self.contact_closed, relay.on("output_1_on")
            if self.scenario.contact == "stuck":
                self.contact_closed = False
            elif self.scenario.contact == "welded":
                self.contact_closed |= was_closed
        if relay is None and (own is None or not own.now()) and self.scenario.earthworks is None:
            # Where nobody commands it, a timer does: five minutes of every half hour of work.
            self.cannon.wanted = activity(hour) > 0.5 and 14.0 <= hour * 60.0 % 30.0 < 19.0
        elif self.outputs:
            self.cannon.wanted = self.contact_closed or (own is not None and own.on("running"))
        self.cannon.step()

    @property
    def mute(self) -> frozenset[str]:
        """Roles of the devices that have lost their power."""
        mute_s = self.scenario.mute_s
        gone = mute_s is not None and self.now_ms - self.start_ms >= mute_s * 1000.0
        return frozenset({"gate"}) if gone else frozenset()

    def _step_machines(self, hour: float, digging: float, stroke: float, *, pumping: bool) -> None:
        air_c = self.weather.air_temperature_c
        self.pump.step(air_c, stroke, pouring=self.pouring, pumping=pumping)
        self.wash.step(lorry=self._lorries.left_s > 0.0)
        self.excavator.step(activity(hour), digging, air_c)
        self.generator.step(max(activity(hour), float(self.pouring)), air_c)
        self.safety_box.step(self.main, air_c)
        # A station shows the strongest gust of its last minutes; here it fades instead.
        self.gust_m_s = max(self.weather.wind_speed_m_s, self.gust_m_s * 0.998)

    def _step_power(self, hour: float, stroke: float, *, pumping: bool, cutting: bool, bending: bool) -> None:
        kettles = max(0.4, 1.0 + self._kettles.step())
        dark = 1.0 if hour >= 18.5 or hour < 6.2 else 0.0
        heating = abs(self.weather.air_temperature_c - 21.0) / 10.0
        watts = {
            "tower-crane": self.crane.power_w,
            "workshop": 1_800.0 + 19_000.0 * cutting * stroke + 9_000.0 * bending,
            "concrete-pump": 600.0 + (5_400.0 * self.pouring + 78_000.0 * stroke * pumping),
            "hoist": self.hoist.power_w,
            "living": (7_000.0 + (9_000.0 + 6_000.0 * heating) * _peak(hour, 20.5, 3.5)) * kettles
            + 6_000.0 * _peak(hour, 6.3, 1.2),
            "office": (700.0 + 4_200.0 * min(1.0, activity(hour) + 0.2) * (0.6 + 0.4 * heating)) * kettles,
            "gate": 900.0 + 7_500.0 * dark + 4_000.0 * self._lorries.swell + self.cannon.power_w,
        }
        nominal = 232.0 - 2.0 * (activity(hour) - 0.5)
        grid_v = [nominal + phase.step() for phase in self._grid]
        air_c = self.weather.air_temperature_c
        zones = self.zones
        for name, feeder in zones.items():
            feeder.set_load(watts[name], grid_v, hour, air_c)
        self.main.set_sum(list(zones.values()), grid_v, hour, air_c)
        self.frequency.step(50.0)

    def _step_dust(self, busy: float, digging: float, *, cutting: bool) -> None:
        source = 22.0 * busy + 75.0 * self._lorries.swell + 14.0 * cutting + 340.0 * digging
        self.dust.step(
            source,
            self.weather.wind_speed_m_s,
            spraying=self.cannon.spraying,
            raining=self.weather.raining,
        )

    def _step_noise(
        self,
        hour: float,
        digging: float,
        *,
        pumping: bool,
        cutting: bool,
        hammering: bool,
    ) -> None:
        quiet = 0.0 if 6.0 <= hour < 22.0 else 6.0
        levels = [48.0 - quiet + self._town.step()]
        if self.crane.working:
            levels.append(46.0 + self.crane.power_w / 5_000.0)
        if self._lorries.left_s > 0.0:
            levels.append(52.0 + 22.0 * self._lorries.swell)
        for on, level in (
            (pumping, self.scenario.pump_db),
            (cutting, 61.0),
            (self.hoist.moving, 54.0),
            (hammering, 66.0),
            (self.cannon.spraying, 58.0),
            (digging > 0.0, 64.0),
            (self.weather.raining, 50.0),
            (self.pouring, 56.5),  # mixers wait with running engines, the pump idles, people shout
        ):
            if on:
                levels.append(level)
        self.noise.step(levels)


def _peak(hour: float, at: float, width: float) -> float:
    """A bell over the day: 1 at ``at``, near 0 beyond ``width`` hours; crosses midnight."""
    away = min(abs(hour - at), 24.0 - abs(hour - at)) / width
    return max(0.0, 1.0 - away * away) ** 2
