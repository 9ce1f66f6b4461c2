"""A device profile: one YAML file that is the whole device (configs/profiles/, CONTRIBUTING.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.vocabulary import Metric


@dataclass(frozen=True, slots=True)
class PointRule:
    """What the pipeline does to one raw number; the part of a point that no driver sees."""

    metric: Metric
    every_s: float
    multiply: float
    """Engineering value = raw * multiply / divide + offset. ``scale: 0.1`` becomes divide 10, which is exact."""
    divide: float
    offset: float
    low: float
    high: float
    """Plausible range in the metric's unit: the vocabulary's, narrowed by the profile."""
    sentinels: frozenset[float]
    """Raw numbers that mean "no value"."""
    wrap: float | None
    """Counter register restarts at zero here, in the metric's unit."""
    max_per_hour: float | None
    """Counters: the fastest plausible growth; more is marked out of range."""

    def scaled(self, raw: float) -> float:
        """Return a raw number in the metric's unit; the pipeline does the same to a whole answer at once."""
        return raw * self.multiply / self.divide + self.offset

    def unscaled(self, value: float) -> float:
        """Inverse of ``scaled``: what a device would send."""
        return (value - self.offset) * self.divide / self.multiply


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of device, checked and ready: ``points`` are of the driver's own Point type."""

    name: str
    maker: str
    models: tuple[str, ...]
    title: dict[str, str]
    """What it is, for people: ``en`` and ``zh``."""
    driver: str
    verified: str
    """simulated | bench | field: how far this file was tried."""
    source: str
    caveats: tuple[str, ...]
    limits: Any
    points: dict[str, Any]
    rules: dict[str, PointRule]
    example_raw: Any
    example_gives: dict[str, float | None]
    file: str
    every_s: float = 10.0
    """Default time between readings; ``rules`` have it already."""
    ratios: Mapping[str, str] = field(default_factory=dict)
    """Points that the device gives without its transformer ratios: metric -> ct | pt | ct_pt."""
