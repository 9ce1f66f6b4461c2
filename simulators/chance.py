"""Seeded chance: one independent stream per named process, so that adding a process leaves the others as they were."""

from __future__ import annotations

import math
from random import Random


def stream(seed: int, name: str) -> Random:
    """Return the random stream of one process of one world; equal arguments give equal numbers everywhere."""
    return Random(f"{seed}:{name}")


class Drift:
    """A value that wanders around its mean and forgets in ``tau_s`` (an Ornstein-Uhlenbeck process, 1 s steps)."""

    __slots__ = ("_keep", "_kick", "_rng", "value")

    def __init__(self, rng: Random, tau_s: float, sigma: float, value: float = 0.0) -> None:
        self._rng = rng
        self._keep = math.exp(-1.0 / tau_s)
        self._kick = sigma * math.sqrt(1.0 - self._keep * self._keep)
        self.value = value

    def step(self, mean: float = 0.0) -> float:
        """Move on by one second."""
        self.value = mean + (self.value - mean) * self._keep + self._kick * self._rng.gauss(0.0, 1.0)
        return self.value


class Lag:
    """A value that follows its target with time constant ``tau_s`` (1 s steps)."""

    __slots__ = ("_share", "value")

    def __init__(self, tau_s: float, value: float = 0.0) -> None:
        self._share = 1.0 - math.exp(-1.0 / tau_s)
        self.value = value

    def step(self, target: float) -> float:
        """Move on by one second."""
        self.value += (target - self.value) * self._share
        return self.value


class Bursts:
    """Something that goes on and off by chance: on with ``rate`` per second, for ``low_s`` to ``high_s``."""

    __slots__ = ("_high_s", "_low_s", "_rng", "left_s", "total_s")

    def __init__(self, rng: Random, low_s: float, high_s: float) -> None:
        self._rng = rng
        self._low_s, self._high_s = low_s, high_s
        self.left_s = self.total_s = 0.0

    def step(self, rate: float) -> bool:
        """Move on by one second and return whether it is on."""
        chance = self._rng.random()
        if self.left_s > 0.0:
            self.left_s -= 1.0
        elif chance < rate:
            self.left_s = self.total_s = self._rng.uniform(self._low_s, self._high_s)
        return self.left_s > 0.0

    @property
    def swell(self) -> float:
        """0 to 1 and back to 0 over the burst: how a passing lorry comes and goes."""
        return math.sin(math.pi * self.left_s / self.total_s) if self.left_s > 0.0 else 0.0
