"""A device profile: one YAML file that is the whole device (configs/profiles/, CONTRIBUTING.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from gateway.vocabulary import Metric


@dataclass(frozen=True, slots=True)
class ReportRule:
    """Which readings of a point go to the buffer and on to the sinks (gateway/pipeline/report.py)."""

    on_change: bool = True
    """False: all of them, as far as ``min_s`` lets."""
    deadband: float = 0.0
    """In the metric's unit; the larger of both deadbands counts."""
    deadband_percent: float = 0.0
    min_s: float = 0.0
    max_s: float = inf
    last_before: bool = True
    """A change brings the last value before it along."""

    @property
    def takes_all(self) -> bool:
        """True when nothing is left out."""
        return not self.on_change and self.min_s == 0.0


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
    report: ReportRule | None = None
    """None: every reading goes to the buffer; in a profile: it does not say."""

    def scaled(self, raw: float) -> float:
        """Return a raw number in the metric's unit; the pipeline does the same to a whole answer at once."""
        return raw * self.multiply / self.divide + self.offset

    def unscaled(self, value: float) -> float:
        """Inverse of ``scaled``: what a device would send."""
        return (value - self.offset) * self.divide / self.multiply


@dataclass(frozen=True, slots=True)
class WriteRule:
    """What may be written to a point, and what the device does when we fall silent."""

    allow: tuple[float, ...]
    """In the metric's unit; anything else is refused."""
    confirm_within_s: float
    """So long the device may take to show the new value when it is read back."""
    dead_man: Literal["pulse", "module", "none"]
    """``pulse``: each write holds for a given time only · ``module``: the device falls back to rest when nobody talks
    to it, after the time in its point ``output_timeout_s`` · ``none``: it holds for ever."""


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
    writes: Mapping[str, WriteRule] = field(default_factory=dict)
    """Points that may be written: metric -> what is allowed. All others are refused."""
