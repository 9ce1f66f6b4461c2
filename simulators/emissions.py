"""What the neighbours notice at the gate: dust in three size fractions, noise as a sum of energies."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from simulators.chance import Drift, Lag, stream


class Dust:
    """Fine (to 2.5 µm), coarse (to 10 µm) and giant dust over a wandering background, in µg/m³.

    Kept as fractions that are never negative, so PM2.5 <= PM10 <= TSP holds by construction.
    """

    def __init__(self, seed: int) -> None:
        self._background = Drift(stream(seed, "background"), 7200.0, 0.25)
        self._flicker = Drift(stream(seed, "dust flicker"), 5.0, 0.03)
        self._excess = [Lag(45.0), Lag(45.0), Lag(36.0)]
        self._mist = Lag(30.0)
        self.pm2_5_ug_m3 = self.pm10_ug_m3 = self.tsp_ug_m3 = 0.0

    def step(self, source_ug_m3: float, wind_m_s: float, *, spraying: bool, raining: bool) -> None:
        """Move on by one second.

        ``source_ug_m3`` is the PM10 that the works would hold at the gate in still, dry air. Wind raises dust of
        its own and thins what there is; spraying takes effect with a delay of about half a minute.
        """
        mist = self._mist.step(1.0 if raining else 0.9 * spraying)
        lifted = 5.0 * max(0.0, wind_m_s - 4.0) ** 2
        source = (source_ug_m3 + lifted) / (0.7 + 0.12 * wind_m_s)
        level = math.exp(self._background.step()) * math.exp(self._flicker.step())
        fine = 32.0 * level * (1.0 - 0.2 * mist) + self._excess[0].step(0.18 * source * (1.0 - 0.4 * mist))
        coarse = 24.0 * level * (1.0 - 0.5 * mist) + self._excess[1].step(0.82 * source * (1.0 - 0.85 * mist))
        giant = 30.0 * level * (1.0 - 0.6 * mist) + self._excess[2].step(1.1 * source * (1.0 - 0.9 * mist))
        self.pm2_5_ug_m3 = fine
        self.pm10_ug_m3 = fine + coarse
        self.tsp_ug_m3 = fine + coarse + giant


class Noise:
    """A-weighted level at the gate: the energies of all sources, never the sum of their decibels."""

    def __init__(self, seed: int) -> None:
        self._flutter = Drift(stream(seed, "noise"), 3.0, 0.9)
        self._minute: deque[float] = deque([10.0**4.8], maxlen=60)
        self.la_db = 48.0

    @property
    def laeq_db(self) -> float:
        """Energy mean of the last minute."""
        return 10.0 * math.log10(sum(self._minute) / len(self._minute))

    @property
    def lamax_db(self) -> float:
        """Highest level of the last minute."""
        return 10.0 * math.log10(max(self._minute))

    def step(self, levels_db: Iterable[float]) -> None:
        """Move on by one second with these sources, each as its level at the gate."""
        energy = sum(10.0 ** (level / 10.0) for level in levels_db)
        self.la_db = min(115.0, 10.0 * math.log10(energy) + self._flutter.step())
        self._minute.append(10.0 ** (self.la_db / 10.0))
