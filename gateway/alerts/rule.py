"""A rule as the engine sees it: frozen, with the site's schedule, permits and maintenance already bound in. Pure.

Files are read by ``gateway.alerts.rule_file``; ``gateway.alerts.presets.load_rules(site)`` gives a site's RuleSet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from gateway.alerts.schedule import ALWAYS, Period, When
from gateway.ledger.windows import Statistic, WindowSpec

RuleKind = Literal["warning", "verdict"]
Severity = Literal["info", "warning", "alarm", "critical"]
Condition = Literal["silent", "stuck", "clock", "over_range", "output"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
Confidence = Literal["confirmed", "reported", "from memory", "derived", "project choice"]
READING = WindowSpec("reading", sliding=True)
"""No window: every single reading is judged at once."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which devices a rule looks at; what is None does not choose."""

    zone: str | None = None
    device: str | None = None
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """The series that a value is compared with: an area station, or what a crane may lift."""

    metric: str
    where: Where
    mode: Literal["difference", "ratio", "percent"] = "difference"
    cap: float | None = None
    """Difference: no more than this is subtracted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit on one statistic of one quantity, or one state of a device."""

    name: str
    kind: RuleKind
    metric: str | None
    """From the vocabulary; None for a rule on a device's ``condition``."""
    condition: Condition | None
    where: Where
    statistic: Statistic
    window: WindowSpec
    limit: float
    direction: Literal["above", "below"] = "above"
    inclusive: bool = False
    """True: the limit itself counts as over (wind >= 10.8 m/s)."""
    warn: float | None = None
    clear: float | None = None
    """Over until the value is beyond this on the good side; None: until it is back at the lowest set level."""
    for_ms: int = 0
    confirm: int = 1
    """Single readings: so many in a row must be over; one spike is none."""
    clear_for_ms: int = 0
    close_after_ms: int | None = None
    """The cause is gone for so long and nobody closed the alarm: the gateway closes it. None: only people do."""
    no_data_after_ms: int | None = None
    escalate_after_ms: int | None = None
    """Unacknowledged for so long: escalated, once."""
    severity: Severity = "alarm"
    """At the limit; at the warning level it is ``warning``."""
    group: Literal["device", "zone", "site"] = "device"
    """What one alarm stands for."""
    valid_share: float = 0.75
    allowance: int = 0
    """Verdicts: exceedances per local day that are still allowed."""
    rounding: Literal["none", "half_even_db"] = "none"
    reference: Reference | None = None
    spread: bool = False
    """The highest minus the lowest value of all devices of the subject is judged."""
    rated: float | None = None
    """The value is judged as per cent of this."""
    wind_below: float | None = None
    """m/s: minutes with as much wind or more are left out."""
    dry_only: bool = False
    """Minutes with rain are left out."""
    sprayed: Literal["keep", "leave_out"] = "keep"
    """Minutes in which a cannon sprayed near the sensor."""
    when: When = ALWAYS
    permits: tuple[Period, ...] = ()
    """Night-work permits, only where the rule may be lifted by one."""
    maintenance: tuple[Period, ...] = ()
    edition: str = ""
    source: str = ""
    confidence: Confidence | None = None
    """How sure limit and window are; what ``source`` says of the rest stands there in words."""
    stage: str | None = None
    """Construction stage that the site was in when the rule was chosen."""
    level: str | None = None
    """Regional warning level, likewise."""
    policy: str = ""
    title: Mapping[str, str] = field(default_factory=dict)
    say: Mapping[str, str] = field(default_factory=dict)
    """Sentences with {device} {subject} {value} {limit} {unit} {window} {valid_share}, per language."""
    file: str = ""
    line: int = 0

    @property
    def at_once(self) -> bool:
        """True when single readings are judged."""
        return self.window == READING


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one site, found by series or device without a search."""

    rules: tuple[Rule, ...]
    by_series: Mapping[tuple[str, str], tuple[Rule, ...]]
    """(metric, device) -> rules on that series."""
    by_device: Mapping[str, tuple[Rule, ...]]
    """Device -> rules on its condition."""
    zones: Mapping[str, str]
    """Device -> zone."""
    references: Mapping[str, tuple[tuple[str, str], ...]]
    """Rule name -> its reference series as (metric, device); the device's own where it has one, else their mean."""

    def compared_with(self, rule: Rule, device: str) -> tuple[tuple[str, str], ...]:
        """Return (metric, device) of what a value is compared with: the device's own series, else all stations'."""
        if rule.reference is None:
            return ()
        own, known = (rule.reference.metric, device), self.references.get(rule.name, ())
        return known if known and own not in known else (own,)

    def for_series(self, metric: str, device: str) -> tuple[Rule, ...]:
        """Rules that judge a series."""
        return self.by_series.get((metric, device), ())

    def for_device(self, device: str) -> tuple[Rule, ...]:
        """Rules that judge a device's condition."""
        return self.by_device.get(device, ())

    def subject(self, rule: Rule, device: str) -> str:
        """What an alarm of this rule is about: the device, its zone, or ``site``."""
        return {"device": device, "zone": self.zones.get(device, "site"), "site": "site"}[rule.group]

    _subjects: dict[str, dict[str, tuple[str, ...]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        places = [(device, rules) for (_, device), rules in self.by_series.items()]
        for device, rules in [*places, *self.by_device.items()]:
            for rule in rules:
                subjects, subject = found.setdefault(rule.name, {}), self.subject(rule, device)
                subjects[subject] = (*subjects.get(subject, ()), device)
        object.__setattr__(self, "_subjects", found)

    def subjects(self, rule: Rule) -> dict[str, tuple[str, ...]]:
        """Subject -> its devices: one State each."""
        return self._subjects.get(rule.name, {})
