"""One rule as written in a file: its keys, and what each may be. What no single key can know: ``rule_file``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from gateway.alerts.rule import READING, Condition, Confidence, RuleKind, Severity
from gateway.config.alerts import ClockTime, Date, Stage, WarningLevel
from gateway.config.model import RULE, AnyLabel, Duration, Model, Name
from gateway.config.report import unknown
from gateway.ledger.windows import Statistic
from gateway.vocabulary import METRICS, Domain, Kind

FIELDS = {
    "device": "d", "subject": "s", "value": 1.0, "limit": 1.0, "unit": "u", "window": "w", "valid_share": 1.0,
    "count_today": 1, "background": 1.0,
}  # fmt: skip
"""What ``say`` may speak of, with a sample of each."""
_USUAL = {Kind.STATE: Statistic.LAST, Kind.COUNTER: Statistic.DELTA}
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _month_day(value: Any) -> Any:
    parts = value.split("-") if isinstance(value, str) else []
    if len(parts) == 2 and all(p.isdigit() and len(p) == 2 for p in parts):
        month, day = int(parts[0]), int(parts[1])
        if 1 <= month <= 12 and 1 <= day <= _DAYS_IN_MONTH[month - 1]:
            return value
    raise ValueError('write month and day such as "11-15"')


MonthDay = Annotated[str, BeforeValidator(_month_day)]


class Season(Model):
    """Both days included; may run over the new year."""

    first: MonthDay = Field(alias="from")
    last: MonthDay = Field(alias="to")


WindowLength = Literal["reading", "1min", "5min", "15min", "20min", "60min", "day", "night", "24h", "month"]


class WindowKeys(Model):
    """The stretch of time that one value speaks of."""

    length: WindowLength = "1min"
    """``reading``: none, every single reading is judged at once."""
    sliding: bool = False
    """True: ends now and moves each minute. False: fixed to the clock."""


def _window(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in get_args(WindowLength):
        raise ValueError(unknown("window", value, get_args(WindowLength)))
    return {"length": value}


class WhereKeys(Model):
    """Which devices; without any key: every device that has the metric."""

    zone: Name | None = None
    device: Name | None = None
    domain: Domain | None = None


class ReferenceKeys(Model):
    """What the value is compared with, over the same window."""

    metric: str
    where: WhereKeys = WhereKeys()
    """Without any key: the same device."""
    cap: float | None = Field(default=None, gt=0)
    mode: Literal["difference", "ratio", "percent"] = "difference"


class RuleKeys(Model):
    """One rule as written."""

    alert: str = Field(pattern=RULE)
    policy: Name | None = None
    """What a site file chooses it by; without it: the name of the file."""
    kind: RuleKind = "warning"
    metric: str | None = None
    condition: Condition | None = None
    where: WhereKeys = WhereKeys()
    statistic: Statistic | None = None
    window: Annotated[WindowKeys, BeforeValidator(_window)] = WindowKeys()
    """``window: 15min`` is short for ``window: {length: 15min}``."""
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    warn: float | None = None
    clear_below: float | None = None
    clear_above: float | None = None
    hold: Duration | None = Field(default=None, alias="for")
    confirm: int = Field(default=1, ge=1, le=100)
    clear_for: Duration | None = None
    close_after: Duration | None = None
    no_data_after: Duration | None = None
    escalate_after: Duration | None = None
    severity: Severity = "alarm"
    group: Literal["device", "zone", "site"] = "device"
    schedule: Literal["always", "day", "night"] = "always"
    hours: tuple[ClockTime, ClockTime] | None = None
    season: Season | None = None
    stage: tuple[Stage, ...] = ()
    level: tuple[WarningLevel, ...] = ()
    valid_from: Date | None = None
    valid_until: Date | None = None
    valid_share: float = Field(default=0.75, gt=0, le=1)
    allowance: int = Field(default=0, ge=0, le=1440)
    rounding: Literal["none", "half_even_db"] = "none"
    reference: ReferenceKeys | None = None
    spread: bool = False
    rated: float | None = Field(default=None, gt=0)
    wind_below: float | None = Field(default=None, gt=0)
    dry_only: bool = False
    sprayed: Literal["keep", "leave_out"] = "keep"
    lifted_by_permit: bool = False
    edition: str = ""
    source: str = ""
    confidence: Confidence | None = None
    title: AnyLabel | None = None
    say: AnyLabel | None = None

    @property
    def limit(self) -> float:
        """The one that is written; a condition has none and counts as 1."""
        return next((x for x in (self.above, self.at_least, self.below) if x is not None), 1.0)

    @property
    def asked(self) -> Statistic:
        """The statistic, or what is usual for the kind of quantity."""
        known = METRICS.get(self.metric or "")
        usual = _USUAL.get(known.kind, Statistic.MEAN) if known else Statistic.MEAN
        return self.statistic or (Statistic.LAST if self.at_once else usual)

    @property
    def at_once(self) -> bool:
        """True when single readings are judged."""
        return self.window.length == READING.length
