"""Air and sky over the site, second by second: a mild inland day with turning wind and rare rain."""

from __future__ import annotations

import math

from simulators.chance import Bursts, Drift, stream

DAY_S = 86_400
RAIN_PER_S = 0.02 / 3600.0
"""About once in two days."""


class Weather:
    """Wind, temperature, humidity, pressure, light and rain at the gate."""

    def __init__(self, seed: int, *, wind_m_s: float, rain: bool) -> None:
        self._base_wind_m_s = wind_m_s
        self._rain_rate = RAIN_PER_S if rain else 0.0
        self._mean_wind = Drift(stream(seed, "wind"), 600.0, 0.5)
        self._gust = Drift(stream(seed, "gust"), 8.0, 0.22)
        self._turn = Drift(stream(seed, "direction"), 5400.0, 40.0)
        self._flutter = Drift(stream(seed, "flutter"), 10.0, 9.0)
        self._mood_c = Drift(stream(seed, "temperature"), 14_400.0, 1.5)
        self._pressure = Drift(stream(seed, "pressure"), 21_600.0, 0.35)
        self._clouds = Drift(stream(seed, "clouds"), 900.0, 0.18)
        self._showers = Bursts(stream(seed, "rain"), 1200.0, 3600.0)
        self._home_deg = stream(seed, "home").uniform(0.0, 360.0)
        self.wind_speed_m_s = wind_m_s
        self.wind_direction_deg = self._home_deg
        self.air_temperature_c = 18.0
        self.humidity_pct = 65.0
        self.pressure_kpa = 101.0
        self.illuminance_lx = 0.0
        self.raining = False
        self.rain_mm = 0.0

    def step(self, local_s: int) -> None:
        """Move on by one second to ``local_s``, seconds of local time since the epoch."""
        day = local_s % DAY_S / DAY_S
        season = math.cos(2.0 * math.pi * (local_s / DAY_S / 365.25 - 0.55))
        sun = max(0.0, math.sin(math.pi * (day * 24.0 - 6.0) / 12.5)) if 6.0 < day * 24.0 < 18.5 else 0.0
        self.raining = self._showers.step(self._rain_rate)
        if self.raining:
            self.rain_mm += 2.5 / 3600.0
        mean = self._base_wind_m_s * (0.75 + 0.5 * sun) + self._mean_wind.step()
        self.wind_speed_m_s = max(0.0, mean * (1.0 + self._gust.step()))
        self.wind_direction_deg = (self._home_deg + self._turn.step() + self._flutter.step()) % 360.0
        swing = 4.0 * math.cos(2.0 * math.pi * (day - 14.5 / 24.0))
        self.air_temperature_c = 18.0 + 10.5 * season + swing + self._mood_c.step() - 2.0 * self.raining
        damp = 68.0 - 4.0 * swing + 22.0 * self.raining
        self.humidity_pct = min(99.0, max(18.0, damp - 2.0 * self._mood_c.value))
        self.pressure_kpa = 101.0 - 0.8 * season + self._pressure.step()
        clear = min(1.0, max(0.1, 0.75 + self._clouds.step() - 0.5 * self.raining))
        self.illuminance_lx = 3.0 + 95_000.0 * sun * clear
