"""A rule file: a list of rules, strictly checked, every problem at once at its line and column."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.alerts.rule import CONDITIONS
from gateway.alerts.rule_keys import FIELDS, ReferenceKeys, RuleKeys, WhereKeys
from gateway.alerts.schedule import DAY_MINUTES
from gateway.config.report import Report, unknown
from gateway.config.yaml_tree import Node
from gateway.ledger.windows import Statistic, WindowSpec, impossible
from gateway.vocabulary import METRICS, Domain, Kind, Metric

_OF_LEVELS = (
    "above", "at_least", "below", "warn", "clear_below", "clear_above", "reference", "rated", "window", "statistic",
    "confirm", "no_data_after", "valid_share", "rounding", "spread", "wind_below", "dry_only", "sprayed",
)  # fmt: skip
"""Keys that say nothing about a condition."""
_MINUTES = {"1min": 1, "5min": 5, "15min": 15, "20min": 20, "60min": 60, "24h": DAY_MINUTES, "month": 28 * DAY_MINUTES}
_NOT_WITHIN = {"day": ("night", "24h", "month"), "night": ("day", "24h", "month")}
_LEAST_SILENCE_S = 120.0
_WIDE = re.compile(r"\d{3}|\{")
"""In the format of a number: a text that could fill the memory."""


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
            known = ", ".join(CONDITIONS)
            self._say("alert", f"a rule judges either a metric or a condition ({known}); write one of them")
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
        self._schedule()
        if keys.say is not None:
            texts = keys.say.model_dump()
            if texts["en"] == texts["zh"]:  # one text for both languages
                self._sentence(("say",), texts["en"])
            else:
                for language, text in texts.items():
                    self._sentence(("say", language), text)

    def _say(self, key: str, text: str) -> None:
        self._report.add((*self._path, key), text)

    def _is_written(self, key: str) -> bool:
        return bool(getattr(self._keys, key) != RuleKeys.model_fields[key].default)

    def _schedule(self) -> None:
        """A window that no schedule can hold is never judged."""
        keys, window = self._keys, self._keys.window.length
        if keys.schedule != "always" and window in _NOT_WITHIN[keys.schedule]:
            self._say("schedule", f"a window of {window} never lies within the {keys.schedule}: it is never judged")
        if keys.hours is None:
            return
        begin, end = (at.hour * 60 + at.minute for at in keys.hours)
        if keys.schedule != "always":
            self._say("hours", f"schedule: {keys.schedule} says it already; write one of them")
        elif begin == end:
            self._say("hours", "from and to are the same: the rule would never hold; leave hours out for the whole day")
        elif (end - begin) % DAY_MINUTES < _MINUTES.get(window, 0):
            self._say("hours", f"a window of {window} does not fit into these hours: it is never judged")

    def _condition(self) -> None:
        for key in _OF_LEVELS:
            if self._is_written(key):
                self._say(key, "a condition holds or does not: it has no levels and no window; remove this key")
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
            if not (keys.reference or keys.rated or keys.spread) and keys.asked is not Statistic.DELTA:
                self._reachable(written[0], metric)
        if keys.at_once:
            self._at_once(metric.kind)
        elif fault := impossible(name, WindowSpec(keys.window.length, keys.window.sliding), keys.asked):
            self._say("window", fault)
        elif keys.no_data_after is not None and keys.no_data_after < _LEAST_SILENCE_S:
            self._say("no_data_after", "minutes come once a minute; write 2min or more, or every pause is an alarm")
        elif keys.confirm > 1:
            self._say("confirm", "only single readings are counted; write window: reading, or for: how long")
        if keys.reference is not None:
            self._reference(keys.reference, metric.kind)
        if keys.spread:
            self._spread(metric.kind)
        if keys.lifted_by_permit and metric.domain in (Domain.NOISE, Domain.AIR):
            self._say(
                "lifted_by_permit", "a night-work permit lifts the rule on working, never a level limit; remove it"
            )
        if keys.rounding == "half_even_db" and metric.kind is not Kind.LEVEL_DB:
            self._say("rounding", f"{name} is no level in dB; remove this key")

    def _at_once(self, kind: Kind) -> None:
        if kind is Kind.COUNTER:
            self._say("window", "a counter's reading grows for ever; judge its increase over a window such as 60min")
        for key in ("statistic", "valid_share", "wind_below", "dry_only", "sprayed", "spread"):
            if self._is_written(key):
                self._say(key, "a single reading is judged as it is; this needs a window such as 5min")

    def _spread(self, kind: Kind) -> None:
        keys = self._keys
        if keys.group == "device":
            self._say("spread", "the highest and the lowest of which devices? write group: zone or group: site")
        if keys.reference is not None or keys.rated is not None:
            self._say("spread", "devices are compared with each other; remove reference and rated")
        if kind is Kind.LEVEL_DB:
            self._say("spread", "decibels cannot be subtracted; judge the level itself")

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

    def _reachable(self, limit_key: str, metric: Metric) -> None:
        """Plausible values must be able to cross each level, in both directions."""
        keys, low, high = self._keys, metric.low, metric.high
        plausible = f"{metric.name} is plausible from {low:g} to {high:g} {metric.unit}"
        edge = {"above": high, "below": low}.get(limit_key)
        if not low <= keys.limit <= high or keys.limit == edge:
            self._say(limit_key, f"{plausible}: this limit is never crossed")
        elif keys.warn is not None and not low <= keys.warn <= high:
            self._say("warn", f"{plausible}: it would be warned all the time")
        elif keys.clear_below is not None and keys.clear_below <= low:
            self._say("clear_below", f"{plausible}: the alarm would never clear")
        elif keys.clear_above is not None and keys.clear_above >= high:
            self._say("clear_above", f"{plausible}: the alarm would never clear")

    def _reference(self, reference: ReferenceKeys, kind: Kind) -> None:
        if reference.metric not in METRICS:
            self._report.add((*self._path, "reference", "metric"), unknown("metric", reference.metric, METRICS))
        elif Kind.LEVEL_DB in (kind, METRICS[reference.metric].kind):
            self._say("reference", "decibels cannot be subtracted or divided; judge the level itself")
        elif reference.metric == self._keys.metric and reference.where == WhereKeys():
            text = "a value is not compared with itself; name the other device or its zone under where"
            self._report.add((*self._path, "reference", "metric"), text)
        if reference.cap is not None and reference.mode != "difference":
            self._report.add((*self._path, "reference", "cap"), "only a difference has a cap; remove it")
        if self._keys.rated is not None:
            self._say("rated", "write either rated or reference")

    def _verdict(self) -> None:
        keys = self._keys
        if keys.at_once:
            self._say("window", "a verdict speaks of a closed window, not of a reading; write kind: warning")
        elif keys.window.sliding:
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
            if any(_WIDE.search(spec or "") for _, _, spec, _ in string.Formatter().parse(text)):
                self._report.add(path, "too wide a number, or one that is not written out; write such as {value:.1f}")
                return
            text.format(**FIELDS)
        except (ValueError, IndexError, KeyError) as error:
            self._report.add(path, f"this sentence cannot be filled in: {error}")
