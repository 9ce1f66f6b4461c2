"""The few frozen things that travel through the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mark(StrEnum):
    """Quality of one value. The letters are the data marks of HJ 212-2017."""

    GOOD = "N"
    FAULT = "D"  # the device answered with an error, or with "no value"
    NO_ANSWER = "B"  # no answer, or the wire is down
    OUT_OF_RANGE = "T"  # outside what is plausible: kept as a mark, never as a value
    CALIBRATION = "C"
    MAINTENANCE = "M"
    OFF = "F"


@dataclass(frozen=True, slots=True)
class Readings:
    """Values that one device gave in one answer: the unit of flow from the pipeline to every consumer.

    Columns instead of single readings, because one answer brings up to a hundred values: ``metrics`` is the same
    tuple object from poll to poll, so consumers may keep prepared work per (device, metrics).
    """

    device: str
    time_ms: int
    """Acquisition time, Unix milliseconds: when the answer arrived, or the device's own stamp."""
    metrics: tuple[str, ...]
    """Names from the vocabulary."""
    values: tuple[float | None, ...]
    """A float exactly where the mark is GOOD, else None: only good values ever become fields."""
    marks: str
    """One letter of Mark per metric. All good is ``"N" * len(metrics)``."""
    above: tuple[int, ...] = field(default=(), compare=False)
    """Positions of values that were more than can be measured: mark T, and a warning. Only of fresh readings."""

    @property
    def all_good(self) -> bool:
        """True when every value counts."""
        return self.marks == "N" * len(self.metrics)

    @property
    def good_count(self) -> int:
        """How many values count."""
        return self.marks.count("N")

    @property
    def is_minute(self) -> bool:
        """True for the statistics of a closed minute: their names carry a colon (docs/decisions/0004)."""
        return bool(self.metrics) and ":" in self.metrics[0]


@dataclass(frozen=True, slots=True)
class Series:
    """What consumers need to know of one series beside its values; fixed by the configuration."""

    device: str
    metric: str
    every_s: float
    """Expected time between readings: the yardstick for the valid share of a minute."""
    wrap: float | None = None
    """For counters: the value at which the register starts again at zero, in the metric's unit."""


@dataclass(slots=True)
class LinkHealth:
    """Live state of one wire; written by its worker only, read by the page and /metrics."""

    name: str
    kind: str
    address: str
    state: str = "starting"  # starting | up | silent (open, and none of several devices answers) | down
    since_ms: int = 0
    """Wall time of the last change of state."""
    last_error: str | None = None
    requests: int = 0
    answers: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    """By cause: no_answer, bad_frame, refused, link_down, and for MQTT the causes of Rejected."""
    writes: int = 0
    """Commands that were asked for and came to an end, good or bad."""
    write_failures: dict[str, int] = field(default_factory=dict)
    """By cause: no_answer, bad_frame, refused, link_down."""
    late_rounds: int = 0
    """Rounds skipped because the one before had not ended."""
    reconnects: int = 0
    discarded_bytes: int = 0
    """What nobody had asked for: late answers, noise, another master on the wire."""
    busy_share: float = 0.0
    """Share of the last ten seconds or more in which the wire was in use, 0 to 1."""

    def count(self, cause: str) -> None:
        """Note one more failure."""
        self.failures[cause] = self.failures.get(cause, 0) + 1

    def count_write(self, failure: str | None) -> None:
        """Note one more command that went out, and how it failed if it did."""
        self.writes += 1
        if failure is not None:
            self.write_failures[failure] = self.write_failures.get(failure, 0) + 1


@dataclass(slots=True)
class DeviceHealth:
    """Live state of one device; written by its link worker only."""

    name: str
    state: str = "waiting"  # waiting | good | partly | refused | silent | link_down
    last_answer_ms: int | None = None
    failures_in_row: int = 0
    next_try_in_s: float | None = None
    last_error: str | None = None


@dataclass(slots=True)
class SettingsState:
    """What became of the site file since the start; written by ``gateway.reload`` only."""

    refused: tuple[str, ...] = ()
    """Mistakes of the file as it is now: the settings before it still hold."""
    waiting: tuple[str, ...] = ()
    """Sections that were changed and take effect at the next start."""
    since_ms: int | None = None


@dataclass(slots=True)
class SinkHealth:
    """Live state of one sink; written by its pump only."""

    name: str
    state: str = "waiting"  # waiting (nothing was sent yet) | up | down
    since_ms: int = 0
    """Wall time of the last change of state."""
    last_error: str | None = None
    """Why it is down, or was the last time."""
    sent_records: int = 0
    sent_values: int = 0
    """Good values that the sink took."""
    rejected: int = 0
    """Records that the sink will never take: they are in the quarantine."""
    retries: int = 0


@dataclass(slots=True)
class NoticeHealth:
    """Live state of one notice channel; written by ``gateway.notices`` only."""

    name: str
    state: str = "waiting"  # waiting (nothing was sent yet) | up | down
    since_ms: int = 0
    """Wall time of the last change of state."""
    last_error: str | None = None
    """Why it is down, or was the last time."""
    waiting: int = 0
    """Alarms of which there is something to tell."""
    sent: int = 0
    """Messages that the service took, since the start."""
    failed: int = 0
    """Messages that it did not take, since the start."""
    expired: int = 0
    """Alarms that could not be told in time, ever."""


@dataclass(frozen=True, slots=True)
class NoticeEntry:
    """One thing in the outbox of notices."""

    channel: str
    state: str
    """waiting (one alarm) · sent (one message) · expired (left out as too old)."""
    at_ms: int
    """Since when it waits; when it was sent or left out."""
    title: str
    body: str
    alarms: tuple[str, ...]
    """Ids."""


@dataclass(frozen=True, slots=True)
class SinkStats:
    """How far one sink is behind."""

    name: str
    pending_records: int
    """Readings records (answers, not single values) not yet settled."""
    oldest_pending_ms: int | None
    quarantined: int


@dataclass(frozen=True, slots=True)
class BufferStats:
    """The buffer in numbers."""

    records: int
    values: int
    """Good values ever committed by this process."""
    bytes_on_disk: int
    max_bytes: int
    dropped_records: int
    damaged_records: int
    hours_left: float | None
    """At the present rate, until the oldest unsent reading would be dropped; None while nothing is known."""
    sinks: tuple[SinkStats, ...]
    failing: str | None = None
    """Why the disk takes nothing just now; records wait in memory. None while all is well."""
    damaged_files: int = 0
    """Files set aside since the start."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """What holds of one alarm after its last event.

    Two things are kept apart: whether the cause still holds (``active``), and what people have done about it
    (``state``). An alarm is over when both are: the cause is gone, and somebody closed it with a note.
    """

    id: str
    rule: str
    subject: str
    """Device or zone."""
    severity: str
    cause: str
    """Kind of its first event: raised or no_data."""
    state: str
    """open, acknowledged, acted or closed; only ever moves forward."""
    active: bool
    """The cause still holds."""
    raised_ms: int
    changed_ms: int
    cleared_ms: int | None
    closed_ms: int | None
    details: Mapping[str, object]
    """Of the first event, brought up to date by the later ones."""


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One level of a rule as a chart shows it: a value beyond it raises an alarm."""

    device: str
    metric: str
    rule: str
    en: str
    zh: str
    value: float
    warning: bool
    """A level to act on, not a limit that was broken."""
    schedule: str
    """When it holds: always, day, night, or hours such as 22:00-06:00."""
    now: bool
    """It holds at this moment."""


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """How one series stands in one fixed window, such as a day or a night, against the limit of a rule."""

    device: str
    metric: str
    rule: str
    en: str
    zh: str
    period: str
    """Length of the window: day, night, 60min, …"""
    start_ms: int
    end_ms: int
    value: float | None
    limit: float
    result: str
    """passed · exceeded · open (the window has not ended) · not_enough_data (never "passed")."""
    exceedances: int
    """Shorter windows inside that were judged to be over the rule's limit."""
    valid_share: float
    corrected: bool
    """Late data changed it after the window had ended."""


@dataclass(frozen=True, slots=True)
class OutputStatus:
    """One output (a valve, a cannon) as it stands now."""

    name: str
    en: str
    zh: str
    zone: str
    device: str
    metric: str
    mode: str
    """off (never touched) · dry_run (decides and records, writes nothing) · armed."""
    state: str
    """off · starting · on · stopping · unknown (not read back) · fault (does not do what it was told)."""
    wanted: bool
    """What was decided last."""
    is_on: bool | None
    """As read back; None: unknown."""
    since_ms: int
    """Wall time of the last change of ``state``."""
    reason: str
    """Code of why it stands so, from ``control.reasons``: alarm, manual, cleared, min_rest, wind, …"""
    blocked_by: tuple[str, ...]
    """Codes of the interlocks that refuse a start just now."""
    owner: str
    """automatic, or manual while somebody holds a lease."""
    by: str | None
    lease_until_ms: int | None
    alarms: tuple[str, ...]
    """Ids of the alarms that ask for it."""
    starts_last_hour: int
    on_s_today: float
    dead_man_s: float | None
    """So long after our last word the device goes off by itself; None: never."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the control journal: never changed, never removed before its time."""

    number: int
    at_ms: int
    output: str
    step: str
    """asked · refused · intent · written · confirmed · unconfirmed · failed · released · manual · fault · dry_run."""
    command: str
    """on, off, or empty."""
    reason: str
    by: str
    """sitegate, or who gave a manual command."""
    alarm: str
    """Id of the alarm it was done for, or empty."""
    details: Mapping[str, object]
