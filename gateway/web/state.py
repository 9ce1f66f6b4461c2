"""Everything the page may look at, in one frozen object that ``gateway.app`` fills.

The protocols below say how little the page needs of ledger, pumps and clock; tests hand in small fakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.buffer import Buffer
from gateway.config.site import SiteConfig
from gateway.model import DeviceHealth, LinkHealth
from gateway.pipeline.latest import Latest


@dataclass(frozen=True, slots=True)
class DeviceView:
    """What people are told of one device beside its values; fixed by the configuration."""

    name: str
    label_en: str
    label_zh: str
    zone: str
    profile: str
    title_en: str
    title_zh: str
    link: str
    every_s: Mapping[str, float]
    """Metric -> expected seconds between readings, in the order in which people should see the metrics."""

    @property
    def fastest_s(self) -> float:
        """The shortest time between readings: the yardstick for the device as a whole."""
        return min(self.every_s.values(), default=60.0)


class Bucket(Protocol):
    """Statistics of one series over one step; None where nothing was good."""

    @property
    def start_ms(self) -> int: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def mean(self) -> float | None: ...
    @property
    def count(self) -> int: ...
    @property
    def valid_share(self) -> float: ...


class MinuteHistory(Protocol):
    """What the page asks of the minute ledger."""

    async def history(self, device: str, metric: str, from_ms: int, to_ms: int, step_s: int) -> Sequence[Bucket]:
        """Buckets that hold data, oldest first; a gap has none. ``step_s`` is a multiple of 60.

        ``mean`` is that of the metric's kind; for counters and states it is the last reading of the step.
        """
        ...

    def minutes_total(self) -> int:
        """Minute rows stored."""
        ...


class PumpView(Protocol):
    """Live state of the pump of one sink."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str:
        """One of: up, down, waiting."""
        ...

    @property
    def since_ms(self) -> int: ...
    @property
    def last_error(self) -> str | None: ...
    @property
    def sent_records(self) -> int: ...
    @property
    def sent_values(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def retries(self) -> int: ...


class WallClock(Protocol):
    """The only question the page has about time: a part of ``gateway.clock.Clock``."""

    def wall_ms(self) -> int:
        """Unix time in milliseconds."""
        ...


@dataclass(frozen=True, slots=True)
class PageState:
    """The live objects behind the page. The mappings may be the gateway's own; the page only reads them."""

    site: SiteConfig
    version: str
    started_ms: int
    clock: WallClock
    devices: Mapping[str, DeviceView]
    device_health: Mapping[str, DeviceHealth]
    links: Mapping[str, LinkHealth]
    latest: Latest
    buffer: Buffer
    ledger: MinuteHistory
    pumps: Mapping[str, PumpView]


STALE_ROUNDS = 3
STALE_SLACK_S = 5.0


def is_stale(time_ms: int | None, every_s: float, now_ms: int) -> bool:
    """True when a reading is too old to stand for now: three rounds missed, and five seconds of slack."""
    return time_ms is None or now_ms - time_ms > (STALE_ROUNDS * every_s + STALE_SLACK_S) * 1000


def age_s(time_ms: int | None, now_ms: int) -> float | None:
    """Seconds since then, never negative: a device's own clock may be ahead of ours."""
    return None if time_ms is None else max(0, now_ms - time_ms) / 1000
