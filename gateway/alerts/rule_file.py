"""A rule file: a list of rules, strictly checked, every problem at once at its line and column."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.alerts.rule import Condition, Confidence, RuleKind, Severity
from gateway.config.alerts import ClockTime, Date, Stage, WarningLevel
from gateway.config.model import RULE, AnyLabel, Duration, Model, Name
from gateway.config.report import Report, unknown
from gateway.config.yaml_tree import Node
from gateway.ledger.windows import Statistic, WindowSpec, impossible
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


class WindowKeys(Model):
    """The stretch of time that one value speaks of."""

    length: Literal["1min", "5min", "15min", "20min", "60min", "day", "night", "24h", "month"] = "1min"
    sliding: bool = False
    """True: ends now and moves each minute. False: fixed to the clock."""


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
    window: WindowKeys = WindowKeys()
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    warn: float | None = None
    clear_below: float | None = None
    clear_above: float | None = None
    hold: Duration | None = Field(default=None, alias="for")
    clear_for: Duration | None = None
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
    rated: float | None = Field(default=None, gt=0)
    wind_below: float | None = Field(default=None, gt=0)
    dry_only: bool = False
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
        return self.statistic or usual


@dataclass(frozen=True, slots=True)
class Written:
    """A checked rule and where it stands."""

    keys: RuleKeys
    data: dict[str, Any]
    """As in the file: what a site file overrides."""
    policy: str
    file: str
    line: int


def read_rules(file: Path) -> tuple[Written, ...]:
    """Return the rules of a file. Raises ConfigError with every problem."""
    report = Report(file)
    root = report.read()
    data = root.data()
    if not isinstance(data, list) or not data:
        report.add((), "a rule file is a list; each rule starts with - alert: NAME")
        report.finish()
    rules: list[Written] = []
    first: dict[str, int] = {}
    for i, (entry, node) in enumerate(zip(data, root.value, strict=True)):  # type: ignore[arg-type]
        assert isinstance(node, Node)
        name = entry.get("alert") if isinstance(entry, dict) else None
        if isinstance(name, str) and first.setdefault(name, node.line) != node.line:
            report.add((i, "alert"), f"rule {name!r} stands in line {first[name]} already; names are unique")
        if keys := check_rule(entry, (i,), report):
            rules.append(Written(keys, entry, keys.policy or file.stem, str(file), node.line))
    report.finish()
    return tuple(rules)


def check_rule(data: Any, path: tuple[str | int, ...], report: Report) -> RuleKeys | None:
    """Return the rule, or None after noting what keeps it from being one; what is merely wrong in it is noted too."""
    keys = report.check(RuleKeys, data, path)
    if keys is not None:
        _Checks(keys, path, report).run()
    return keys


class _Checks:
    """What no single key can know."""

    def __init__(self, keys: RuleKeys, path: tuple[str | int, ...], report: Report) -> None:
        self._keys, self._path, self._report = keys, path, report

    def run(self) -> None:
        keys = self._keys
        if (keys.metric is None) == (keys.condition is None):
            self._say("alert", "a rule judges either a metric or a condition (silent, stuck, clock); write one of them")
        elif keys.metric is None:
            self._condition()
        elif keys.metric not in METRICS:
            self._say("metric", unknown("metric", keys.metric, METRICS))
        else:
            self._metric(keys.metric)
        if keys.kind == "verdict":
            self._verdict()
        elif keys.allowance:
            self._say("allowance", "only verdicts count exceedances; write kind: verdict")
        if keys.valid_from and keys.valid_until and keys.valid_until < keys.valid_from:
            self._say("valid_until", "the rule would end before it begins; write a date after valid_from")
        if keys.hours and keys.schedule != "always":
            self._say("hours", f"schedule: {keys.schedule} says it already; write one of them")
        if keys.say is not None:
            texts = keys.say.model_dump()
            if texts["en"] == texts["zh"]:  # one text for both languages
                self._sentence(("say",), texts["en"])
            else:
                for language, text in texts.items():
                    self._sentence(("say", language), text)

    def _say(self, key: str, text: str) -> None:
        self._report.add((*self._path, key), text)

    def _condition(self) -> None:
        for key in ("above", "at_least", "below", "warn", "clear_below", "clear_above", "reference", "rated"):
            if getattr(self._keys, key) is not None:
                self._say(key, "a condition holds or does not: it has no levels; remove this key")
        if self._keys.kind == "verdict":
            self._say("kind", "a verdict needs a metric and a closed window; write kind: warning")

    def _metric(self, name: str) -> None:
        keys, metric = self._keys, METRICS[name]
        written = [key for key in ("above", "at_least", "below") if getattr(keys, key) is not None]
        if len(written) != 1:
            text = "write one limit: above (more than), at_least (that or more) or below"
            self._say(written[-1] if written else "metric", text)
        else:
            self._levels(written[0])
            if keys.reference is None and keys.rated is None and keys.asked is not Statistic.DELTA:
                self._reachable(written[0], metric.low, metric.high)
        if fault := impossible(name, WindowSpec(keys.window.length, keys.window.sliding), keys.asked):
            self._say("window", fault)
        if keys.reference is not None:
            self._reference(keys.reference, metric.kind)
        if keys.lifted_by_permit and metric.domain in (Domain.NOISE, Domain.AIR):
            self._say(
                "lifted_by_permit", "a night-work permit lifts the rule on working, never a level limit; remove it"
            )
        if keys.rounding == "half_even_db" and metric.kind is not Kind.LEVEL_DB:
            self._say("rounding", f"{name} is no level in dB; remove this key")

    def _levels(self, limit_key: str) -> None:
        """Raise above, clear below; and the warning comes first."""
        keys, upwards = self._keys, limit_key != "below"
        right, wrong = ("clear_below", "clear_above") if upwards else ("clear_above", "clear_below")
        if getattr(keys, wrong) is not None:
            self._say(wrong, f"with {limit_key} the clear level is {right}")
        sign = 1 if upwards else -1
        if keys.warn is not None and sign * keys.warn >= sign * keys.limit:
            self._say("warn", f"the warning must come before {limit_key} {keys.limit:g}")
        lowest = keys.limit if keys.warn is None else keys.warn
        clear = getattr(keys, right)
        if clear is not None and sign * clear > sign * lowest:
            side = "above" if upwards else "below"
            what = "limit" if keys.warn is None else "warning"
            text = f"the clear level must not be {side} the {what} {lowest:g}, or the alarm clears while it is raised"
            self._say(right, text)

    def _reachable(self, limit_key: str, low: float, high: float) -> None:
        limit = self._keys.limit
        if not low <= limit <= high:
            name = METRICS[self._keys.metric or ""]
            text = f"{name.name} is plausible from {low:g} to {high:g} {name.unit}: this limit is never crossed"
            self._say(limit_key, text)

    def _reference(self, reference: ReferenceKeys, kind: Kind) -> None:
        if reference.metric not in METRICS:
            self._report.add((*self._path, "reference", "metric"), unknown("metric", reference.metric, METRICS))
        elif Kind.LEVEL_DB in (kind, METRICS[reference.metric].kind):
            self._say("reference", "decibels cannot be subtracted or divided; judge the level itself")
        if reference.cap is not None and reference.mode != "difference":
            self._report.add((*self._path, "reference", "cap"), "only a difference has a cap; remove it")
        if self._keys.rated is not None:
            self._say("rated", "write either rated or reference")

    def _verdict(self) -> None:
        keys = self._keys
        if keys.window.sliding:
            text = "a verdict speaks of a closed window, and a sliding one never closes; write sliding: false"
            self._say("window", text)
        for key in ("warn", "hold", "clear_for", "no_data_after"):
            if getattr(keys, key) is not None:
                written = "for" if key == "hold" else key
                self._say(written, "a verdict is one word on one closed window; put this into a rule of kind warning")

    def _sentence(self, where: tuple[str, ...], text: str) -> None:
        path = (*self._path, *where)
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
            strangers = [name for name in fields if name not in FIELDS]
            if strangers:
                self._report.add(path, unknown("field", strangers[0] or "{}", FIELDS))
                return
            text.format(**FIELDS)
        except (ValueError, IndexError, KeyError) as error:
            self._report.add(path, f"this sentence cannot be filled in: {error}")
