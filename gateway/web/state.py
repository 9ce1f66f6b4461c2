"""Everything the page may look at, in one frozen object that ``gateway.app`` fills.

The protocols below say how little the page needs of ledger and alarms; tests hand in small fakes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.buffer import Buffer
from gateway.config.site import SiteConfig
from gateway.ledger.bucket import Bucket
from gateway.model import (
    Alarm,
    DeviceHealth,
    JournalEntry,
    LimitLine,
    LinkHealth,
    NoticeEntry,
    NoticeHealth,
    OutputStatus,
    SettingsState,
    SinkHealth,
    WindowVerdict,
)
from gateway.pipeline.latest import Latest

if TYPE_CHECKING:
    from gateway.clock import Clock


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
    thinned: Collection[str] = ()
    """Metrics of which the buffer does not hold every reading: only their minutes are complete."""
    address: str = ""
    """Where it is found on its link, such as ``unit 3``; holds no secret."""

    @property
    def fastest_s(self) -> float:
        """The shortest time between readings: the yardstick for the device as a whole."""
        return min(self.every_s.values(), default=60.0)


class Wire(Protocol):
    """What the page asks of a wire on which the gateway asks."""

    @property
    def last_frames(self) -> tuple[bytes, bytes]:
        """Raw bytes of the last exchange: sent, received."""
        ...


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


class AlarmStep(Protocol):
    """One event in an alarm's life."""

    @property
    def kind(self) -> str: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def severity(self) -> str: ...
    @property
    def details(self) -> Mapping[str, object]: ...


class AlarmDesk(Protocol):
    """What the page asks of the alarms, and how people answer them."""

    @property
    def revision(self) -> int:
        """Grows whenever an alarm changes: look again."""
        ...

    def alarms(self) -> Sequence[Alarm]:
        """Every alarm that is not over."""
        ...

    def limits(self) -> Sequence[LimitLine]:
        """The levels of all rules of this site."""
        ...

    def verdicts(self) -> Sequence[WindowVerdict]:
        """Days and nights, today's and yesterday's."""
        ...

    async def find(self, from_ms: int, to_ms: int) -> Sequence[Alarm]:
        """Alarms raised in that time, the newest first."""
        ...

    async def history(self, alarm: str) -> tuple[Alarm, Sequence[AlarmStep]] | None:
        """An alarm and all that happened to it; None when there is none of that name."""
        ...

    async def answer(self, alarm: str, step: str, by: str, note: str) -> Alarm | None:
        """Take a step of a person: acknowledge, act or close. None: no such alarm. Raises NotNow with a sentence."""
        ...


class OutputDesk(Protocol):
    """What the page asks of control, and how people take an output over for a while."""

    @property
    def revision(self) -> int:
        """Grows whenever the status of an output changes: look again."""
        ...

    def outputs(self) -> Sequence[OutputStatus]:
        """Every output of the site file, in its order."""
        ...

    async def journal(self, from_ms: int, to_ms: int, output: str | None = None) -> Sequence[JournalEntry]:
        """What was asked, refused, written and confirmed in that time, the newest first; of one output or of all."""
        ...

    async def command(self, output: str, want: str, by: str, minutes: float) -> OutputStatus | None:
        """Switch ``on`` or ``off`` by hand and keep it so for ``minutes``, or give it back with ``auto``.

        None: no such output. Raises NotNow with a sentence when an interlock refuses.
        """
        ...


class NoticeDesk(Protocol):
    """What the page asks of the notices."""

    def health(self) -> Mapping[str, NoticeHealth]:
        """How each channel stands."""
        ...

    async def outbox(self) -> Sequence[NoticeEntry]:
        """What waits, then what was sent or left out lately, the newest first."""
        ...


@dataclass(frozen=True, slots=True)
class PageState:
    """The live objects behind the page. The mappings may be the gateway's own; the page only reads them."""

    site: SiteConfig
    version: str
    started_ms: int
    clock: Clock
    devices: Mapping[str, DeviceView]
    device_health: Mapping[str, DeviceHealth]
    links: Mapping[str, LinkHealth]
    latest: Latest
    buffer: Buffer
    ledger: MinuteHistory
    pumps: Mapping[str, SinkHealth]
    alarms: AlarmDesk | None = None
    """None: this site has chosen no rules."""
    outputs: OutputDesk | None = None
    """None: this site has no outputs."""
    notices: NoticeDesk | None = None
    """None: nobody is told of alarms."""
    wires: Mapping[str, Wire] = field(default_factory=dict)
    """By link; where devices speak first there is none."""
    settings: SettingsState = field(default_factory=SettingsState)


STALE_ROUNDS = 3
STALE_SLACK_S = 5.0


def is_stale(time_ms: int | None, every_s: float, now_ms: int) -> bool:
    """True when a reading is too old to stand for now: three rounds missed, and five seconds of slack."""
    return time_ms is None or now_ms - time_ms > (STALE_ROUNDS * every_s + STALE_SLACK_S) * 1000


def age_s(time_ms: int | None, now_ms: int) -> float | None:
    """Seconds since then, never negative: a device's own clock may be ahead of ours."""
    return None if time_ms is None else max(0, now_ms - time_ms) / 1000
